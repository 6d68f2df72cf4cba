package revocation_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/revocationtest"
	"github.com/sealpost/sealpost/pkg/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheLogForTestsKeepsTheContract(t *testing.T) {
	revocationtest.Run(t, func(*testing.T) revocation.Log { return &revocationtest.Log{} })
}

// run starts a mirror that stops with the test.
func run(t *testing.T, log revocation.Log, opts ...revocation.Option) *revocation.Mirror {
	m := revocation.New(log, opts...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

func oneToken(id string) revocation.Record {
	return revocation.Record{TokenID: id, Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}
}

func allBefore(subject string, generation int64) revocation.Record {
	return revocation.Record{Subject: subject, MinGeneration: generation, ExpiresAt: time.Now().Add(time.Hour)}
}

func holder(subject, tokenID string, generation int64) token.Identity {
	return token.Identity{Subject: subject, TokenID: tokenID, Generation: generation}
}

func TestARecordRefusesItsTokenOrItsAccountsEarlierGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &revocationtest.Log{}
		m := run(t, log)
		records := []revocation.Record{oneToken("a1"), allBefore("bob", 3)}
		for _, r := range records {
			require.NoError(t, log.Append(t.Context(), r))
		}
		synctest.Wait()
		for _, c := range []struct {
			id   token.Identity
			want bool
		}{
			{holder("alice", "a1", 9), true},
			{holder("alice", "a2", 0), false},
			{holder("bob", "b1", 2), true},
			{holder("bob", "b1", 3), false},
			{holder("bob", "b1", 4), false},
			{holder("carol", "c1", 0), false},
		} {
			require.Equal(t, c.want, m.Revoked(c.id), "%+v", c.id)
			require.Equal(t, c.want, records[0].Refuses(c.id) || records[1].Refuses(c.id), "the records by themselves: %+v", c.id)
		}
		require.EqualValues(t, 3, m.MinGeneration("bob"))
		require.Zero(t, m.MinGeneration("carol"))
	})
}

func TestAnEarlierGenerationNeverWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := run(t, &revocationtest.Log{})
		require.NoError(t, m.Revoke(t.Context(), allBefore("bob", 5)))
		require.NoError(t, m.Revoke(t.Context(), allBefore("bob", 4)))
		require.True(t, m.Revoked(holder("bob", "", 4)))
	})
}

func TestAMirrorIsReadyOnceItHasReadEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &revocationtest.Log{}
		require.NoError(t, log.Append(t.Context(), oneToken("a1")))
		log.SetAway(true)
		m := run(t, log)
		<-time.After(time.Minute)
		select {
		case <-m.Ready():
			t.Fatal("ready without the log")
		default:
		}
		require.Equal(t, time.Duration(math.MaxInt64), m.Staleness())

		log.SetAway(false)
		<-m.Ready()
		require.True(t, m.Revoked(holder("alice", "a1", 0)))
		require.Zero(t, m.Staleness())
	})
}

func TestWhatIsKnownHoldsWhileTheLogIsAwayAndStalenessTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &revocationtest.Log{}
		m := run(t, log)
		require.NoError(t, m.Revoke(t.Context(), oneToken("a1")))
		<-time.After(time.Minute)
		require.LessOrEqual(t, m.Staleness(), time.Second, "a log that is there keeps it fresh")

		log.SetAway(true)
		<-time.After(10 * time.Minute)
		require.True(t, m.Revoked(holder("alice", "a1", 0)))
		require.GreaterOrEqual(t, m.Staleness(), 10*time.Minute)

		log.SetAway(false)
		<-time.After(5 * time.Second)
		require.LessOrEqual(t, m.Staleness(), time.Second, "followed anew within the longest pause")
	})
}

func TestARevocationThatFailsIsAnErrorAndDoesNotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &revocationtest.Log{}
		m := run(t, log)
		<-m.Ready()
		log.SetAway(true)
		require.ErrorIs(t, m.Revoke(t.Context(), oneToken("a1")), revocation.ErrUnavailable)
		require.False(t, m.Revoked(holder("alice", "a1", 0)))
	})
}

func TestARevocationHoldsHereBeforeRevokeReturns(t *testing.T) {
	m := revocation.New(&revocationtest.Log{}) // it does not run: the log delivers nothing
	require.NoError(t, m.Revoke(t.Context(), oneToken("a1")))
	require.True(t, m.Revoked(holder("alice", "a1", 0)))
}

func TestARecordThatRefusesNothingIsNotAppended(t *testing.T) {
	log := &revocationtest.Log{}
	m := revocation.New(log)
	soon := time.Now().Add(time.Hour)
	for name, r := range map[string]revocation.Record{
		"empty":         {},
		"no subject":    {TokenID: "a1", ExpiresAt: soon},
		"neither kind":  {Subject: "alice", ExpiresAt: soon},
		"both kinds":    {TokenID: "a1", Subject: "alice", MinGeneration: 1, ExpiresAt: soon},
		"no expiry":     {TokenID: "a1", Subject: "alice"},
		"negative kind": {Subject: "alice", MinGeneration: -1, ExpiresAt: soon},
	} {
		err := m.Revoke(t.Context(), r)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, revocation.ErrUnavailable, name)
	}
	require.Empty(t, log.Records())
}

func TestExpiredRecordsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		m := run(t, &revocationtest.Log{}, revocation.WithRegistry(reg, time.Minute))
		short, long := allBefore("bob", 2), allBefore("bob", 3)
		long.ExpiresAt = long.ExpiresAt.Add(time.Hour)
		for _, r := range []revocation.Record{oneToken("a1"), short, long, allBefore("carol", 1)} {
			require.NoError(t, m.Revoke(t.Context(), r))
		}
		requireMetric(t, reg, "sealpost_revocation_records", 3)
		requireMetric(t, reg, "sealpost_revocation_max_staleness_seconds", 60)

		<-time.After(time.Hour + 2*time.Second)
		requireMetric(t, reg, "sealpost_revocation_records", 1)
		require.False(t, m.Revoked(holder("alice", "a1", 0)))
		require.True(t, m.Revoked(holder("bob", "", 2)), "a later record made it longer")

		<-time.After(time.Hour)
		requireMetric(t, reg, "sealpost_revocation_records", 0)
		require.False(t, m.Revoked(holder("bob", "", 0)))
	})
}

// requireMetric checks the value of a metric without labels.
func requireMetric(t *testing.T, reg *prometheus.Registry, name string, want float64) {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			require.InDelta(t, want, m.GetGauge().GetValue()+m.GetCounter().GetValue(), 0, name)
			return
		}
	}
	t.Fatal("no metric " + name)
}

func TestWatchersAreToldEachPieceOfNewsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &revocationtest.Log{}
		m := run(t, log)
		var told []string
		stop := m.Watch(func(r revocation.Record) {
			assert.True(t, m.Revoked(holder(r.Subject, r.TokenID, r.MinGeneration-1)), "it holds before anybody is told")
			told = append(told, r.Subject+r.TokenID)
		})
		require.NoError(t, m.Revoke(t.Context(), oneToken("1")))
		require.NoError(t, log.Append(t.Context(), oneToken("2")))
		require.NoError(t, log.Append(t.Context(), allBefore("bob", 2)))
		synctest.Wait()
		require.Equal(t, []string{"alice1", "alice2", "bob"}, told)

		// After a failure the log delivers all records again. They are not news.
		log.SetAway(true)
		<-time.After(time.Second)
		log.SetAway(false)
		require.NoError(t, log.Append(t.Context(), allBefore("bob", 1)))
		<-time.After(10 * time.Second)
		require.Len(t, told, 3)

		stop()
		stop()
		require.NoError(t, m.Revoke(t.Context(), oneToken("3")))
		require.Len(t, told, 3)
	})
}

// dead is a log that fails at once.
type dead struct {
	revocation.Log
	mu    sync.Mutex
	tries []time.Time
}

func (d *dead) Follow(context.Context, func(revocation.Record), func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries = append(d.tries, time.Now())
	return errors.New("dead")
}

func TestALogThatFailsIsTriedAgainEverMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &dead{}
		reg := prometheus.NewPedanticRegistry()
		run(t, log, revocation.WithRegistry(reg, time.Minute))
		<-time.After(time.Minute)
		log.mu.Lock()
		defer log.mu.Unlock()
		require.Less(t, log.tries[1].Sub(log.tries[0]), 126*time.Millisecond)
		for i := 1; i < len(log.tries); i++ {
			pause := log.tries[i].Sub(log.tries[i-1])
			require.GreaterOrEqual(t, pause, 50*time.Millisecond)
			require.LessOrEqual(t, pause, 5*time.Second)
		}
		require.GreaterOrEqual(t, len(log.tries), 60/5, "it is never given up")
		require.LessOrEqual(t, len(log.tries), 40, "nor tried without pause")
		requireMetric(t, reg, "sealpost_revocation_log_failures_total", float64(len(log.tries)))
	})
}

func TestReadersAndWritersMayBeConcurrent(t *testing.T) {
	m := run(t, &revocationtest.Log{})
	<-m.Ready()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := string(rune('a' + i))
			stop := m.Watch(func(revocation.Record) {})
			assert.NoError(t, m.Revoke(t.Context(), oneToken(id)))
			stop()
			assert.True(t, m.Revoked(holder("alice", id, 0)))
		})
	}
	wg.Wait()
}

func TestWhatTheLogHasLostIsGivenBackToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &revocationtest.Log{}
		m := run(t, log)
		later := allBefore("bob", 3)
		for _, r := range []revocation.Record{oneToken("a1"), allBefore("bob", 2), later, oneToken("a2")} {
			require.NoError(t, m.Revoke(t.Context(), r))
		}
		log.SetAway(true)
		synctest.Wait()
		log.Truncate(2) // as if Redis went back to an older copy
		log.SetAway(false)
		<-time.After(time.Minute)
		records := log.Records()
		require.Len(t, records, 4, "what was not lost is not appended again: %+v", records)
		require.ElementsMatch(t, []string{"", "a2"}, []string{records[2].TokenID, records[3].TokenID})
		require.Contains(t, records, later)

		newcomer := run(t, log)
		<-newcomer.Ready()
		require.True(t, newcomer.Revoked(holder("bob", "", 2)))
		require.True(t, newcomer.Revoked(holder("alice", "a2", 0)))
	})
}

// forgetful is a log that accepts the next record and loses it.
type forgetful struct {
	revocationtest.Log
	next atomic.Bool
}

func (l *forgetful) Append(ctx context.Context, r revocation.Record) error {
	if l.next.CompareAndSwap(true, false) {
		return nil
	}
	return l.Log.Append(ctx, r)
}

// TestWhatTheLogLosesBeforeAnybodyHasReadItIsGivenBackToIt: Redis accepted a logout and was emptied a moment later. All nodes found as
// many records as before, so the logout held on one node, and never on any other.
func TestWhatTheLogLosesBeforeAnybodyHasReadItIsGivenBackToIt(t *testing.T) {
	for name, r := range map[string]revocation.Record{
		"a token": {Subject: "alice", TokenID: "a1"}, "an account": {Subject: "alice", MinGeneration: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r.ExpiresAt = time.Now().Add(time.Hour)
				log := &forgetful{}
				auth, other := run(t, log), run(t, log)
				<-auth.Ready()
				<-other.Ready()
				log.next.Store(true)
				require.NoError(t, auth.Revoke(t.Context(), r))
				<-time.After(10 * time.Second)
				require.Equal(t, []revocation.Record{r}, log.Records())
				require.True(t, other.Revoked(holder("alice", "a1", 2)))
				<-time.After(time.Minute)
				require.Len(t, log.Records(), 1, "it is appended once")
			})
		})
	}
}

// halting is a log that can be followed, and refuses a number of appends.
type halting struct {
	revocationtest.Log
	refusals atomic.Int32
}

func (l *halting) Append(ctx context.Context, r revocation.Record) error {
	if l.refusals.Add(-1) >= 0 {
		return revocation.ErrUnavailable
	}
	return l.Log.Append(ctx, r)
}

// TestWhatTheLogHasLostIsGivenBackThoughItTakesNothingAtFirst: Redis was emptied and stalled. The append timed out; the follower waited
// for an answer and got it, so nobody tried the append again.
func TestWhatTheLogHasLostIsGivenBackThoughItTakesNothingAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &halting{}
		m := run(t, log)
		want := []revocation.Record{oneToken("a1"), oneToken("a2")}
		for _, r := range want {
			require.NoError(t, m.Revoke(t.Context(), r))
		}
		log.SetAway(true)
		synctest.Wait()
		log.Truncate(0)
		log.refusals.Store(3)
		log.SetAway(false)
		<-time.After(time.Minute)
		require.ElementsMatch(t, want, log.Records())
	})
}
