package messaging_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cable is a bus that a test can disconnect from its server.
type cable struct {
	mu sync.Mutex
	// away: the connection is known to be lost. silent: it is not known, and nothing arrives.
	away, silent bool
	// lost: the connection was replaced since the last Flush.
	lost    bool
	refuses error
	flushes int
	// receivers is how many nodes receive rooms; rooms counts room payloads.
	receivers, rooms int
}

func (w *cable) set(change func(*cable)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *cable) PublishRoom([]byte, []string) error {
	w.set(func(w *cable) { w.rooms++ })
	return w.Publish("", nil, nil)
}

func (w *cable) Receivers() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.receivers
}

func (w *cable) Publish(string, []byte, []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return bus.ErrDisconnected
	}
	return w.refuses
}

func (w *cable) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes++
	if w.silent {
		w.mu.Unlock()
		<-ctx.Done()
		w.mu.Lock()
		return fmt.Errorf("%w: %w", bus.ErrDisconnected, ctx.Err())
	}
	if w.away || w.lost {
		w.lost = false
		return bus.ErrDisconnected
	}
	return nil
}

func (w *cable) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushes
}

// hints records hints and their times.
type hints struct {
	mu    sync.Mutex
	fail  error
	takes time.Duration
	sent  [][]string
	at    []time.Duration
	began time.Time
}

func (h *hints) Hint(ctx context.Context, users []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	select {
	case <-time.After(h.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	slices.Sort(users)
	h.sent, h.at = append(h.sent, users), append(h.at, time.Since(h.began))
	return nil
}

func (h *hints) set(change func(*hints)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *hints) told() [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sent)
}

// node is an Announcer between a wire and hints.
type node struct {
	*cable
	*hints
	announcer *messaging.Announcer
	log       bytes.Buffer
	registry  *prometheus.Registry
}

// parted runs a test under virtual time.
func parted(t *testing.T, f func(t *testing.T, n *node)) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{cable: &cable{}, hints: &hints{began: time.Now()}, registry: prometheus.NewRegistry()}
		n.announcer = messaging.NewAnnouncer(messaging.AnnouncerConfig{
			Bus: n.cable, Hints: n.hints, Queue: 64, Log: slog.New(slog.NewTextHandler(&n.log, nil)), Metrics: messaging.NewMetrics(n.registry),
		})
		defer n.announcer.Stop()
		f(t, n)
	})
}

func (n *node) send(users ...string) {
	n.announcer.Announce(context.Background(), committed(1, "x", users...))
}

// after lets d pass and waits until everything due in it has happened.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestWhatTheBusConfirmsIsNotHinted(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		after(time.Minute)
		require.Zero(t, n.asked(), "there was nothing to ask about")
		n.send("bob", "carol")
		after(time.Second)
		require.Equal(t, 1, n.asked())
		n.cable.set(func(w *cable) { w.away = true }) // what the bus confirmed before needs no hint
		after(time.Minute)
		require.Equal(t, 1, n.asked())
		require.Empty(t, n.told())
	})
}

// TestEventsThatGoIntoADeadConnectionAreHintedWithinTwoSeconds: the bus takes them, and no answer comes.
func TestEventsThatGoIntoADeadConnectionAreHintedWithinTwoSeconds(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.cable.set(func(w *cable) { w.silent = true })
		published := map[string]time.Duration{}
		for i := range 30 { // also during a Flush
			user := fmt.Sprint("user", i)
			published[user] = time.Since(n.began)
			n.send(user)
			after(100 * time.Millisecond)
		}
		after(2 * time.Second)
		for i, users := range n.told() {
			for _, user := range users {
				require.Less(t, n.at[i]-published[user], 2*time.Second, user)
				delete(published, user)
			}
		}
		require.Empty(t, published)
	})
}

// TestAllReadersOfARoomAreHinted, whether the bus did not take the room, did not confirm it, or refused it.
func TestAllReadersOfARoomAreHinted(t *testing.T) {
	for _, set := range []func(*cable){
		func(w *cable) { w.away = true },
		func(w *cable) { w.silent = true },
		func(w *cable) { w.lost = true },
		func(w *cable) { w.refuses = errors.New("no") },
	} {
		parted(t, func(t *testing.T, n *node) {
			n.cable.set(func(w *cable) {
				w.receivers = 1
				set(w)
			})
			n.send(many(20)...)
			after(3 * time.Second)
			require.Equal(t, 1, n.rooms)
			require.Equal(t, [][]string{many(20)}, n.told())
		})
	}
	parted(t, func(t *testing.T, n *node) {
		n.cable.set(func(w *cable) { w.receivers = 1 })
		n.send(many(20)...)
		after(3 * time.Second)
		require.Equal(t, 1, n.rooms)
		require.Equal(t, 1, n.asked())
		require.Empty(t, n.told())
	})
}

// TestWithoutAConnectionReadersAreHintedAtOnce, and sends do not wait for that.
func TestWithoutAConnectionReadersAreHintedAtOnce(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.send("early")
		n.cable.set(func(w *cable) { w.away = true })
		n.hints.set(func(h *hints) { h.takes = 350 * time.Millisecond })
		began := time.Now()
		n.send("bob")
		synctest.Wait()
		n.send("carol", "dave")
		n.send("dave")
		require.Zero(t, time.Since(began), "a send waited")
		after(3 * time.Second)
		require.Equal(t, [][]string{{"bob"}, {"carol", "dave", "early"}}, n.told(), "those that came while a hint was under way share the next")
		require.Equal(t, 350*time.Millisecond, n.at[0])
		require.Equal(t, 1, strings.Count(n.log.String(), "readers are told by hints"), "it is said once")

		n.cable.set(func(w *cable) { w.away = false })
		after(time.Second)
		require.Contains(t, n.log.String(), "the bus confirms publications again")
		n.send("bob")
		after(3 * time.Second)
		require.Len(t, n.told(), 2)
	})
}

// TestHintsGather: however many sends there are, there are only a few hints a second.
func TestHintsGather(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.cable.set(func(w *cable) { w.away = true })
		for range 100 {
			n.send("bob")
			after(10 * time.Millisecond)
		}
		after(time.Second)
		require.LessOrEqual(t, len(n.told()), 6)
		require.GreaterOrEqual(t, len(n.told()), 5)
	})
}

// TestAConnectionThatCameBackBeforeItWasAskedHasLostWhatWentBefore: that is hinted.
func TestAConnectionThatCameBackBeforeItWasAskedHasLostWhatWentBefore(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.send("bob")
		n.cable.set(func(w *cable) { w.lost = true })
		after(2 * time.Second)
		require.Equal(t, [][]string{{"bob"}}, n.told())
	})
}

// TestAnEventThatTheBusDoesNotTakeIsHinted, one that is too large, say; the others are not.
func TestAnEventThatTheBusDoesNotTakeIsHinted(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.send("carol")
		n.cable.set(func(w *cable) { w.refuses = errors.New("too large") })
		n.send("bob")
		n.cable.set(func(w *cable) { w.refuses = nil })
		after(5 * time.Second)
		require.Equal(t, [][]string{{"bob"}}, n.told())
		require.Empty(t, n.log.String())
	})
}

// TestHintsThatFailAreSentLater, when both engines are away; the failure is logged once.
func TestHintsThatFailAreSentLater(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.cable.set(func(w *cable) { w.away = true })
		n.hints.set(func(h *hints) { h.fail = errors.New("away") })
		n.send("bob")
		after(10 * time.Second)
		n.send("carol")
		require.NoError(t, testutil.GatherAndCompare(n.registry, strings.NewReader(`
# HELP sealpost_messages_hints_total Hints to the gateways to look into the store, because the bus may have lost events, by result (sent, failed).
# TYPE sealpost_messages_hints_total counter
sealpost_messages_hints_total{result="failed"} 11
sealpost_messages_hints_total{result="sent"} 0
`), "sealpost_messages_hints_total"))
		require.Equal(t, 1, strings.Count(n.log.String(), "hints fail too"))
		n.hints.set(func(h *hints) { h.fail = nil })
		after(2 * time.Second)
		require.Equal(t, [][]string{{"bob", "carol"}}, n.told())
		require.Contains(t, n.log.String(), "told by hints again")
	})
}

// TestTooManyNamesAreEverybody, and a hint for everybody is sent at most once a second.
func TestTooManyNamesAreEverybody(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.cable.set(func(w *cable) { w.away = true })
		n.send("bob")
		synctest.Wait()
		for range 6 {
			for i := range 5 {
				var many []string
				for j := range 1024 {
					many = append(many, fmt.Sprintf("user_%d_%d", i, j))
				}
				n.send(many...)
			}
			after(300 * time.Millisecond)
		}
		after(time.Second)
		told := n.told()
		require.Equal(t, []string{"bob"}, told[0])
		require.Len(t, told, 4, "at 0.2, 1.2 and 2.2 s")
		for _, users := range told[1:] {
			require.Empty(t, users)
		}
	})
}

// TestAStopAsksForWhatWasPublishedLast, and sends a hint if there is no answer.
func TestAStopAsksForWhatWasPublishedLast(t *testing.T) {
	parted(t, func(t *testing.T, n *node) {
		n.send("bob")
		n.announcer.Stop()
		require.Equal(t, 1, n.asked())
		require.Empty(t, n.told())
	})
	parted(t, func(t *testing.T, n *node) {
		n.send("bob")
		n.cable.set(func(w *cable) { w.silent = true })
		began := time.Now()
		n.announcer.Stop()
		require.LessOrEqual(t, time.Since(began), 2*time.Second)
		require.Equal(t, [][]string{{"bob"}}, n.told())
	})
}
