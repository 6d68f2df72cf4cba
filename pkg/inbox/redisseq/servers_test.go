package redisseq_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq/redisseqtest"
)

// switching routes each shard to the current server, unless the shard is moved.
type switching struct {
	at    atomic.Pointer[redisseqtest.Server]
	moved map[int]*redisseqtest.Server
	// answered is called once, before Run returns its next answers.
	answered func()
}

func (s *switching) Run(ctx context.Context, runs []redisseq.Run) ([]redisseq.Answer, error) {
	var answers []redisseq.Answer
	for _, run := range runs {
		server := s.at.Load()
		if other := s.moved[run.Shard]; other != nil {
			server = other
		}
		a, err := server.Run(ctx, []redisseq.Run{run})
		if err != nil {
			return nil, err
		}
		answers = append(answers, a...)
	}
	if f := s.answered; f != nil {
		s.answered = nil
		f()
	}
	return answers, nil
}

// failing are the ways in which the counters of a trusted server go back to an older copy of its data.
var failing = map[string]func(s *switching, older redisseqtest.Data){
	"a replica that lags is promoted": func(s *switching, older redisseqtest.Data) {
		replica := redisseqtest.NewServer()
		replica.Follow(older)
		replica.Promote()
		s.at.Store(replica)
	},
	"the master is demoted, and promoted with the data of the other": func(s *switching, older redisseqtest.Data) {
		s.at.Load().Follow(older)
		s.at.Load().Promote()
	},
	"the master is started again": func(s *switching, older redisseqtest.Data) { s.at.Load().Restart(older) },
}

func TestCountersThatMayHaveGoneBackAreNotBelieved(t *testing.T) {
	for what, fail := range failing {
		t.Run(what, func(t *testing.T) {
			servers := &switching{}
			servers.at.Store(redisseqtest.NewServer())
			s := redisseq.NewOn(servers, redisseq.Config{Retention: retention, Settling: settling})
			take(t, s, above("ann", 10))
			settle(t, s, "ann")
			older := servers.at.Load().Data()
			last := take(t, s, wants("ann", "ann", "ann")...)[2]
			fail(servers, older)
			require.Equal(t, []int64{0}, take(t, s, wants("ann")...))
			require.Equal(t, []int64{last + 1}, take(t, s, above("ann", last)))
			require.Equal(t, []int64{0}, take(t, s, wants("ann")...), "positions of before may be on their way")
			settle(t, s, "ann")
		})
	}
}

func TestAReplicaHandsOutNothing(t *testing.T) {
	master, replica := redisseqtest.NewServer(), redisseqtest.NewServer()
	servers := &switching{}
	servers.at.Store(master)
	s := redisseq.NewOn(servers, redisseq.Config{Retention: retention, Settling: settling})
	take(t, s, above("ann", 10))
	settle(t, s, "ann")
	replica.Follow(master.Data())
	servers.at.Store(replica)
	_, err := s.Take(t.Context(), wants("ann"))
	require.Error(t, err)
}

// TestOfTwoMastersThatAnswerInTurnNoneIsBelieved: each lacks what the other did.
func TestOfTwoMastersThatAnswerInTurnNoneIsBelieved(t *testing.T) {
	one, other := redisseqtest.NewServer(), redisseqtest.NewServer()
	servers := &switching{}
	servers.at.Store(one)
	s := redisseq.NewOn(servers, redisseq.Config{Retention: retention, Settling: settling})
	take(t, s, above("ann", 10))
	settle(t, s, "ann")
	for _, server := range []*redisseqtest.Server{other, one, other} {
		servers.at.Store(server)
		require.Equal(t, []int64{0}, take(t, s, wants("ann")...))
		take(t, s, above("ann", 10))
		settle(t, s, "ann")
	}
}

// TestAnAnswerOfAServerThatWasReplacedMeanwhileIsNotBelieved: its answer came late.
func TestAnAnswerOfAServerThatWasReplacedMeanwhileIsNotBelieved(t *testing.T) {
	one, other := redisseqtest.NewServer(), redisseqtest.NewServer()
	servers := &switching{}
	servers.at.Store(one)
	s := redisseq.NewOn(servers, redisseq.Config{Retention: retention, Settling: settling})
	take(t, s, above("ann", 10))
	settle(t, s, "ann")
	servers.answered = func() {
		servers.at.Store(other)
		take(t, s, above("ben", 10))
	}
	require.Equal(t, []int64{0}, take(t, s, wants("ann")...))
}

// TestWhatHappensToOneSlotOfAClusterIsNotTheOthers: moving a slot makes no counter of another slot doubtful.
func TestWhatHappensToOneSlotOfAClusterIsNotTheOthers(t *testing.T) {
	servers := &switching{moved: map[int]*redisseqtest.Server{}}
	servers.at.Store(redisseqtest.NewServer())
	s := redisseq.NewOn(servers, redisseq.Config{Retention: retention, Settling: settling, Cluster: true})
	take(t, s, above("ann", 10), above("ben", 20))
	settle(t, s, "ann", "ben")
	server := redisseqtest.NewServer()
	server.Restart(servers.at.Load().Data())
	servers.moved[redisseq.Slot("ann")] = server
	taken := take(t, s, wants("ann", "ben")...)
	require.Zero(t, taken[0])
	require.Positive(t, taken[1])
	settle(t, s, "ann", "ben")
}

// TestServersGoByWhoAnswersForEachShard tests Servers alone.
func TestServersGoByWhoAnswersForEachShard(t *testing.T) {
	now := time.Now()
	servers := redisseq.NewServers(func() time.Time { return now })
	a, b := redisseq.Server{Replication: "a"}, redisseq.Server{Replication: "b"}
	for i, step := range []struct {
		shard       int
		by          redisseq.Server
		incarnation uint64
	}{{0, a, 1}, {0, a, 1}, {1, b, 1}, {0, b, 2}, {0, a, 3}, {1, b, 1}, {0, a, 3}} {
		before := now
		now = now.Add(time.Second)
		incarnation, since := servers.Saw(step.shard, step.by)
		require.Equal(t, step.incarnation, incarnation, i)
		require.LessOrEqual(t, since, now)
		by, last := servers.Last(step.shard)
		require.Equal(t, step.by, by)
		require.Equal(t, incarnation, last)
		if i == 3 || i == 4 {
			require.Equal(t, before.Add(time.Second), since, "another one")
		}
	}
	_, none := servers.Last(7)
	require.Zero(t, none)
}

// TestSlotsAreThoseOfACluster: the expected slots are from CLUSTER KEYSLOT.
func TestSlotsAreThoseOfACluster(t *testing.T) {
	for user, slot := range map[string]int{"ann": 8953, "ben": 10067, "some_user_1234567890": 7947} {
		require.Equal(t, slot, redisseq.Slot(user))
	}
}
