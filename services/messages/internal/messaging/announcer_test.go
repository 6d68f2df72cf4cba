package messaging_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

// slowWire keeps the positions of each payload, by user. Its first payload takes until it may go on.
type slowWire struct {
	mu       sync.Mutex
	payloads map[string][][]int64
	traces   [][]string
	begun    chan struct{}
	goOn     chan struct{}
	once     sync.Once
}

func (w *slowWire) Publish(user string, payload []byte, traces []string) error {
	w.once.Do(func() {
		close(w.begun)
		<-w.goOn
	})
	events, err := delivery.Decode(payload)
	var positions []int64
	for _, e := range events {
		positions = append(positions, e.Position)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.payloads[user] = append(w.payloads[user], positions)
	w.traces = append(w.traces, traces)
	return err
}

func (w *slowWire) PublishRoom([]byte, []string) error { panic("nobody hears rooms") }

func (w *slowWire) Receivers() int { return 0 }

func (w *slowWire) Flush(context.Context) error { return nil }

// announcer has no hints.
func announcer(b bus.Publisher, queue int) *messaging.Announcer {
	return messaging.NewAnnouncer(messaging.AnnouncerConfig{
		Bus: b, Queue: queue, Log: slog.New(slog.DiscardHandler), Metrics: messaging.NewMetrics(nil),
	})
}

func committed(position int64, content string, users ...string) inbox.Receipt {
	r := inbox.Receipt{Message: store.Message{Sender: "Alice", Recipients: users, Content: content}}
	for _, u := range users {
		r.Entries = append(r.Entries, store.Entry{User: u, Position: position, Kind: store.Received, WrappedKey: "key"})
	}
	return r
}

// TestSendsThatEndTogetherShareWhatIsPublished: while one is being published others come, in any order; their readers are
// told of all of them at once, in order.
func TestSendsThatEndTogetherShareWhatIsPublished(t *testing.T) {
	wire := &slowWire{payloads: map[string][][]int64{}, begun: make(chan struct{}), goOn: make(chan struct{})}
	a := announcer(wire, 8)
	defer a.Stop()
	var sends sync.WaitGroup
	sends.Go(func() { a.Announce(t.Context(), committed(1, "x", "bob")) })
	<-wire.begun
	for _, position := range []int64{4, 3, 2} {
		sends.Go(func() { a.Announce(t.Context(), committed(position, "x", "bob", "carol")) })
	}
	require.Eventually(t, func() bool { return a.Waiting() == 3 }, 20*time.Second, time.Millisecond)
	close(wire.goOn)
	sends.Wait()
	require.Equal(t, map[string][][]int64{"bob": {{1}, {2, 3, 4}}, "carol": {{2, 3, 4}}}, wire.payloads)
}

// TestEachEventOfAPayloadHasTheTraceOfItsOwnSend, and one whose send is not sampled has none.
func TestEachEventOfAPayloadHasTheTraceOfItsOwnSend(t *testing.T) {
	wire := &slowWire{payloads: map[string][][]int64{}, begun: make(chan struct{}), goOn: make(chan struct{})}
	a := announcer(wire, 8)
	defer a.Stop()
	var sends sync.WaitGroup
	sends.Go(func() { a.Announce(t.Context(), committed(1, "x", "bob")) })
	<-wire.begun
	traces := map[int64]string{
		2: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		3: "",
		4: "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01",
	}
	for position, header := range traces {
		ctx := tracing.With(t.Context(), tracing.Parse(header))
		sends.Go(func() { a.Announce(ctx, committed(position, "x", "bob")) })
	}
	require.Eventually(t, func() bool { return a.Waiting() == 3 }, 20*time.Second, time.Millisecond)
	close(wire.goOn)
	sends.Wait()
	require.Equal(t, [][]string{nil, {traces[2], traces[3], traces[4]}}, wire.traces)
}

// TestPayloadsAreBounded: what does not fit into one goes into the next.
func TestPayloadsAreBounded(t *testing.T) {
	wire := &slowWire{payloads: map[string][][]int64{}, begun: make(chan struct{}), goOn: make(chan struct{})}
	a := announcer(wire, 8)
	defer a.Stop()
	var sends sync.WaitGroup
	sends.Go(func() { a.Announce(t.Context(), committed(1, "x", "bob")) })
	<-wire.begun
	large := make([]byte, 25<<10)
	for i := range large {
		large[i] = 'x'
	}
	for position := range int64(4) {
		sends.Go(func() { a.Announce(t.Context(), committed(position+2, string(large), "bob")) })
	}
	require.Eventually(t, func() bool { return a.Waiting() == 4 }, 20*time.Second, time.Millisecond)
	close(wire.goOn)
	sends.Wait()
	require.Equal(t, [][]int64{{1}, {2, 3}, {4, 5}}, wire.payloads["bob"])
}

// TestTooManySendsAreEachPublishedAlone, and after the Announcer's end, too: none is left out.
func TestTooManySendsAreEachPublishedAlone(t *testing.T) {
	wire := &slowWire{payloads: map[string][][]int64{}, begun: make(chan struct{}), goOn: make(chan struct{})}
	a := announcer(wire, 0)
	close(wire.goOn)
	for position := range int64(3) {
		a.Announce(t.Context(), committed(position+1, "x", "bob"))
	}
	a.Stop()
	a.Announce(t.Context(), committed(4, "x", "bob"))
	require.Equal(t, [][]int64{{1}, {2}, {3}, {4}}, wire.payloads["bob"])
}

// kinds keeps the kinds of events that were published.
type kinds struct {
	mu   sync.Mutex
	seen map[delivery.Kind]int
	// rooms is how many payloads of them there were, and receivers how many nodes hear them.
	rooms, receivers int
}

func (k *kinds) Publish(_ string, payload []byte, _ []string) error {
	events, err := delivery.Decode(payload)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range events {
		k.seen[e.Kind]++
	}
	return err
}

func (k *kinds) PublishRoom(payload []byte, _ []string) error {
	rooms, err := delivery.DecodeRooms(payload)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rooms++
	for _, r := range rooms {
		for m := range r.Members() {
			k.seen[m.Kind]++
		}
	}
	return err
}

func (k *kinds) Receivers() int { return k.receivers }

func (k *kinds) Flush(context.Context) error { return nil }

// TestALargeMessageToManyDoesNotFloodTheBus: its events tell where it stands.
func TestALargeMessageToManyDoesNotFloodTheBus(t *testing.T) {
	content := strings.Repeat("x", 200<<10)
	var many []string
	for i := range 1024 {
		many = append(many, fmt.Sprint("user", i))
	}
	for _, c := range []struct {
		users []string
		want  map[delivery.Kind]int
	}{
		{many, map[delivery.Kind]int{delivery.Reference: 1024}},
		{many[:10], map[delivery.Kind]int{delivery.Inline: 10}},
	} {
		wire := &kinds{seen: map[delivery.Kind]int{}}
		a := announcer(wire, 8)
		a.Announce(t.Context(), committed(1, content, c.users...))
		a.Stop()
		require.Equal(t, c.want, wire.seen)
	}
}
