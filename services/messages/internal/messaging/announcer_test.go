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

// slowWire records the positions of each payload, by user. Its first publication blocks until the test lets it go on.
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

// TestSendsThatEndTogetherShareWhatIsPublished: sends that arrive in any order during a publication are batched; their readers get
// all events in one payload, in order.
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

// TestEachEventOfAPayloadHasTheTraceOfItsOwnSend, and an event whose send is not sampled has no trace.
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

// TestTooManySendsAreEachPublishedAlone, also after Stop: no send is dropped.
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

// kinds records the kinds of published events.
type kinds struct {
	mu   sync.Mutex
	seen map[delivery.Kind]int
	// rooms counts room payloads; receivers is how many nodes receive them.
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

// TestALargeMessageToManyDoesNotFloodTheBus: its events are references.
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

// roomWire records publications by form. Its first publication blocks until the test lets it go on.
type roomWire struct {
	slowWire
	receivers int
	// rooms are the room payloads: for each room its members' positions, by user.
	rooms [][]map[string]int64
	sizes []int
}

func newRoomWire(receivers int) *roomWire {
	return &roomWire{
		slowWire: slowWire{payloads: map[string][][]int64{}, begun: make(chan struct{}), goOn: make(chan struct{})}, receivers: receivers,
	}
}

func (w *roomWire) Receivers() int { return w.receivers }

func (w *roomWire) PublishRoom(payload []byte, traces []string) error {
	w.once.Do(func() {
		close(w.begun)
		<-w.goOn
	})
	list, err := delivery.DecodeRooms(payload)
	var rooms []map[string]int64
	for _, r := range list {
		common, members := r.Common(), map[string]int64{}
		for m := range r.Members() {
			members[string(m.User)] = r.Event(m, common).Position
		}
		rooms = append(rooms, members)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rooms, w.sizes, w.traces = append(w.rooms, rooms), append(w.sizes, len(payload)), append(w.traces, traces)
	return err
}

// many returns n user names.
func many(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("user%04d", i))
	}
	return list
}

// TestAMessageIsPublishedInTheFormThatIsLessWorkForTheBus: as a room for many readers; as an event for each if there are few, or so
// many gateways that the copies of the room exceed all those events. Rooms need a known number of receivers.
func TestAMessageIsPublishedInTheFormThatIsLessWorkForTheBus(t *testing.T) {
	for _, c := range []struct {
		recipients, receivers int
		content               string
		rooms                 int
	}{
		{1, 1, "x", 0},
		{2, 1, "x", 0},
		{3, 1, "x", 1},
		{20, 0, "x", 0},
		{20, 1, "x", 1},
		{20, 3, "x", 1},
		{20, 12, "x", 0},
		{20, 12, strings.Repeat("x", 50<<10), 1},
		{1024, 0, "x", 0},
		{1024, 8, "x", 2},
		{1024, 1000, "x", 0},
		{1024, 8, strings.Repeat("x", 200<<10), 1}, // references
		{20, 2, strings.Repeat("x", delivery.MaxInline+1), 1},
	} {
		wire := newRoomWire(c.receivers)
		close(wire.goOn)
		a := announcer(wire, 8)
		receipt := committed(1, c.content, many(c.recipients)...)
		for i := range receipt.Entries {
			receipt.Entries[i].WrappedKey = strings.Repeat("k", 344)
		}
		a.Announce(t.Context(), receipt)
		a.Stop()
		require.Len(t, wire.rooms, c.rooms, "%d recipients, %d receivers, %d bytes", c.recipients, c.receivers, len(c.content))
		told := len(wire.payloads)
		for _, rooms := range wire.rooms {
			for _, members := range rooms {
				told += len(members)
			}
		}
		require.Equal(t, c.recipients, told)
	}
}

// TestSendsThatEndTogetherShareAPayloadOfRooms, each with its own trace; sends to few recipients are published separately.
func TestSendsThatEndTogetherShareAPayloadOfRooms(t *testing.T) {
	wire := newRoomWire(1)
	a := announcer(wire, 8)
	defer a.Stop()
	const header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var sends sync.WaitGroup
	sends.Go(func() { a.Announce(t.Context(), committed(1, "x", many(20)...)) })
	<-wire.begun
	sends.Go(func() { a.Announce(tracing.With(t.Context(), tracing.Parse(header)), committed(2, "x", many(20)...)) })
	sends.Go(func() { a.Announce(t.Context(), committed(3, "x", many(10)...)) })
	sends.Go(func() { a.Announce(t.Context(), committed(4, "x", "bob")) })
	require.Eventually(t, func() bool { return a.Waiting() == 3 }, 20*time.Second, time.Millisecond)
	close(wire.goOn)
	sends.Wait()
	require.Len(t, wire.rooms, 2)
	require.Len(t, wire.rooms[0], 1)
	require.Len(t, wire.rooms[1], 2)
	require.Equal(t, map[string][][]int64{"bob": {{4}}}, wire.payloads)
	for i, members := range wire.rooms[1] {
		switch members["user0000"] {
		case 2:
			require.Equal(t, header, wire.traces[1][i])
			require.Len(t, members, 20)
		case 3:
			require.Empty(t, wire.traces[1][i])
			require.Len(t, members, 10)
		}
	}
}

// TestPayloadsOfRoomsAreBounded far below the limit of NATS, whatever the messages' sizes, and no reader is left out.
func TestPayloadsOfRoomsAreBounded(t *testing.T) {
	for _, size := range []int{1, 10 << 10, 100 << 10, delivery.MaxInline - 1000} {
		wire := newRoomWire(1)
		close(wire.goOn)
		a := announcer(wire, 8)
		n := min(1024, (16<<20)/(size+32<<10))
		receipt := committed(1, strings.Repeat("x", size), many(n)...)
		for i := range receipt.Entries {
			receipt.Entries[i].WrappedKey = strings.Repeat("k", 2048)
		}
		a.Announce(t.Context(), receipt)
		a.Stop()
		seen := map[string]int64{}
		for i, rooms := range wire.rooms {
			require.Less(t, wire.sizes[i], 300<<10)
			for _, members := range rooms {
				for user, position := range members {
					require.NotContains(t, seen, user)
					seen[user] = position
				}
			}
		}
		require.Len(t, seen, n, size)
	}
}

// BenchmarkAnnounce publishes a message in the form that suits the number of receivers; with 0, an event for each reader.
func BenchmarkAnnounce(b *testing.B) {
	for _, n := range []int{1, 20, 1024} {
		receipt := committed(1, strings.Repeat("x", 512), many(n)...)
		for i := range receipt.Entries {
			receipt.Entries[i].WrappedKey = strings.Repeat("k", 344)
		}
		for _, receivers := range []int{0, 1} {
			b.Run(fmt.Sprintf("recipients=%d/receivers=%d", n, receivers), func(b *testing.B) {
				wire := &sink{receivers: receivers}
				a := announcer(wire, 8)
				defer a.Stop()
				b.ReportAllocs()
				for b.Loop() {
					a.Announce(context.Background(), receipt)
				}
				b.ReportMetric(float64(wire.payloads)/float64(b.N), "payloads/op")
				b.ReportMetric(float64(wire.bytes)/float64(b.N), "payload-B/op")
			})
		}
	}
}

// sink counts publications.
type sink struct{ receivers, payloads, bytes int }

func (s *sink) Publish(_ string, payload []byte, _ []string) error {
	s.payloads++
	s.bytes += len(payload)
	return nil
}
func (s *sink) PublishRoom(payload []byte, _ []string) error { return s.Publish("", payload, nil) }
func (s *sink) Receivers() int                               { return s.receivers }
func (s *sink) Flush(context.Context) error                  { return nil }
