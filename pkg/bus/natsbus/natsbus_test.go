package natsbus_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/bus/natsbus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience limits the wait for a condition.
const patience = 20 * time.Second

// address is the address of a NATS server: the one in NATS_URL, or one in this process.
func address(t *testing.T) string {
	if url := os.Getenv("NATS_URL"); url != "" {
		return url
	}
	return startServer(t, 0).ClientURL()
}

func startServer(t *testing.T, port int) *server.Server {
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	t.Cleanup(func() { stopServer(s) })
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// receiver keeps what it receives.
type receiver struct {
	mu          sync.Mutex
	events      map[string][]string
	disruptions int
}

func newReceiver() *receiver { return &receiver{events: map[string][]string{}} }

func (r *receiver) Receive(user string, payload []byte, _ []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[user] = append(r.events[user], string(payload))
}

// ReceiveRoom keeps rooms as events without a user.
func (r *receiver) ReceiveRoom(payload []byte, _ []string) int {
	r.Receive("", append([]byte(nil), payload...), nil)
	return 1
}

func (r *receiver) Disrupted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disruptions++
}

func (r *receiver) Hinted([]string) {}

func (r *receiver) of(user string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events[user]...)
}

func (r *receiver) disrupted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disruptions
}

func connect(t *testing.T, url string, r bus.Receiver) *natsbus.Bus {
	b, err := natsbus.Connect(url, natsbus.Options{Name: t.Name(), Log: slog.New(slog.DiscardHandler), Receiver: r})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	require.Eventually(t, b.Connected, patience, time.Millisecond)
	return b
}

// user is a name that no other test on a shared server uses.
func user(t *testing.T, name string) string {
	return fmt.Sprintf("%s_%x", name, time.Now().UnixNano())
}

func TestEventsReachTheSubscriberInOrderAndNobodyElse(t *testing.T) {
	url := address(t)
	mine, other := newReceiver(), newReceiver()
	a, b, publisher := connect(t, url, mine), connect(t, url, other), connect(t, url, nil)
	bob, carol := user(t, "bob"), user(t, "carol")
	_, err := a.Subscribe(t.Context(), bob)
	require.NoError(t, err)
	_, err = b.Subscribe(t.Context(), carol)
	require.NoError(t, err)
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprint("event ", i))
		require.NoError(t, publisher.Publish(bob, []byte(want[i]), nil))
	}
	require.Eventually(t, func() bool { return len(mine.of(bob)) == len(want) }, patience, time.Millisecond)
	require.Equal(t, want, mine.of(bob))
	require.Empty(t, other.of(bob))
}

func TestAfterSubscribeReturnsNoEventIsMissed(t *testing.T) {
	url := address(t)
	r := newReceiver()
	subscriber, publisher := connect(t, url, r), connect(t, url, nil)
	for i := range 200 {
		name := user(t, fmt.Sprint("u", i))
		_, err := subscriber.Subscribe(t.Context(), name)
		require.NoError(t, err)
		require.NoError(t, publisher.Publish(name, []byte("x"), nil))
		require.Eventually(t, func() bool { return len(r.of(name)) == 1 }, patience, time.Millisecond)
	}
}

func TestAfterUnsubscribeNothingComes(t *testing.T) {
	url := address(t)
	r := newReceiver()
	b := connect(t, url, r)
	bob, carol := user(t, "bob"), user(t, "carol")
	s, err := b.Subscribe(t.Context(), bob)
	require.NoError(t, err)
	_, err = b.Subscribe(t.Context(), carol)
	require.NoError(t, err)
	require.NoError(t, s.Unsubscribe())
	require.NoError(t, b.Publish(bob, []byte("x"), nil))
	require.NoError(t, b.Publish(carol, []byte("y"), nil))
	require.Eventually(t, func() bool { return len(r.of(carol)) == 1 }, patience, time.Millisecond)
	require.Empty(t, r.of(bob))
}

func TestALostServerIsToldOfAndSubscriptionsComeBackWithIt(t *testing.T) {
	port := freePort(t)
	s := startServer(t, port)
	r := newReceiver()
	b := connect(t, s.ClientURL(), r)
	_, err := b.Subscribe(t.Context(), "bob")
	require.NoError(t, err)
	before := r.disrupted()
	stopServer(s)
	require.Eventually(t, func() bool { return !b.Connected() && r.disrupted() > before }, patience, time.Millisecond)
	require.ErrorIs(t, b.Publish("bob", []byte("x"), nil), bus.ErrDisconnected)
	_, err = b.Subscribe(t.Context(), "carol")
	require.ErrorIs(t, err, bus.ErrDisconnected)
	_, err = b.Ask(t.Context())
	require.ErrorIs(t, err, bus.ErrDisconnected)

	lost := r.disrupted()
	startServer(t, port)
	require.Eventually(t, func() bool { return b.Connected() && r.disrupted() > lost }, patience, time.Millisecond)
	require.Eventually(t, func() bool {
		return b.Publish("bob", []byte("y"), nil) == nil && b.Publish("carol", []byte("z"), nil) == nil && len(r.of("bob")) > 0 && len(r.of("carol")) > 0
	}, patience, 10*time.Millisecond)
}

func freePort(t *testing.T) int {
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

func TestABusWaitsForItsServerToStart(t *testing.T) {
	port := freePort(t)
	b, err := natsbus.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port), natsbus.Options{Name: "early", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	require.False(t, b.Connected())
	startServer(t, port)
	require.Eventually(t, b.Connected, patience, time.Millisecond)
}

func TestAllNodesAnswerWhoIsThere(t *testing.T) {
	url := address(t)
	var stops []func() error
	for i := range 3 {
		stop, err := connect(t, url, nil).Answer(func() []byte { return fmt.Append(nil, "node ", i) })
		require.NoError(t, err)
		stops = append(stops, stop)
	}
	asker := connect(t, url, nil)
	answers := func() map[string]bool {
		list, err := asker.Ask(context.Background())
		require.NoError(t, err)
		got := map[string]bool{}
		for _, a := range list {
			got[string(a)] = true
		}
		return got
	}
	require.Eventually(t, func() bool { return len(answers()) >= 3 }, patience, time.Millisecond)
	for i := range 3 {
		require.True(t, answers()[fmt.Sprint("node ", i)])
	}
	for _, stop := range stops {
		require.NoError(t, stop())
	}
	require.Eventually(t, func() bool { return !answers()["node 0"] && !answers()["node 2"] }, patience, time.Millisecond)
}

// tracer keeps the traces of what it receives.
type tracer chan []string

func (r tracer) Receive(_ string, _ []byte, traces []string) { r <- traces }

func (r tracer) ReceiveRoom(_ []byte, traces []string) int { r <- traces; return 0 }

func (r tracer) Disrupted() {}

func (r tracer) Hinted([]string) {}

// TestThePayloadCarriesTheTracesOfItsEvents: each at its index, even next to events that are not sampled.
func TestThePayloadCarriesTheTracesOfItsEvents(t *testing.T) {
	url := address(t)
	got := make(tracer, 1)
	b, publisher := connect(t, url, got), connect(t, url, nil)
	bob := user(t, "bob")
	_, err := b.Subscribe(t.Context(), bob)
	require.NoError(t, err)
	const id = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, traces := range [][]string{{id}, {"", id, ""}, {id, "", "", id}, nil} {
		require.NoError(t, publisher.Publish(bob, []byte("x"), traces))
		require.Equal(t, traces, <-got)
		require.NoError(t, publisher.PublishRoom([]byte("x"), traces))
		require.Equal(t, traces, <-got)
	}
}

// TestRoomsReachEveryReceiverInOrder, regardless of subscriptions, and nobody else.
func TestRoomsReachEveryReceiverInOrder(t *testing.T) {
	url := startServer(t, 0).ClientURL() // separate: no other test sends rooms
	mine, other := newReceiver(), newReceiver()
	subscriber := connect(t, url, mine)
	connect(t, url, other)
	publisher := connect(t, url, nil)
	_, err := subscriber.Subscribe(t.Context(), "bob")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return publisher.Receivers() == 2 }, patience, time.Millisecond)
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint("room ", i))
		require.NoError(t, publisher.PublishRoom([]byte(want[i]), nil))
	}
	require.NoError(t, publisher.Publish("bob", []byte("after them"), nil))
	for _, r := range []*receiver{mine, other} {
		require.Eventually(t, func() bool { return len(r.of("")) >= len(want) }, patience, time.Millisecond)
		require.Equal(t, want, r.of(""))
	}
	require.Eventually(t, func() bool { return len(mine.of("bob")) == 1 }, patience, time.Millisecond)
	require.Empty(t, other.of("bob"))
}

// TestReceiversAreCounted: a publisher knows how many nodes receive rooms, and they receive them again after a restart of the server.
func TestReceiversAreCounted(t *testing.T) {
	port := freePort(t)
	s := startServer(t, port)
	publisher := connect(t, s.ClientURL(), nil)
	require.Zero(t, publisher.Receivers())
	r := newReceiver()
	one := connect(t, s.ClientURL(), r)
	connect(t, s.ClientURL(), newReceiver())
	require.Eventually(t, func() bool { return publisher.Receivers() == 2 }, patience, time.Millisecond)
	require.Zero(t, one.Receivers(), "a receiver does not publish")
	stopServer(s)
	require.Eventually(t, func() bool { return !publisher.Connected() }, patience, time.Millisecond)
	require.ErrorIs(t, publisher.PublishRoom([]byte("x"), nil), bus.ErrDisconnected)
	startServer(t, port)
	require.Eventually(t, func() bool {
		return publisher.PublishRoom([]byte("y"), nil) == nil && len(r.of("")) > 0
	}, patience, 10*time.Millisecond)
}
