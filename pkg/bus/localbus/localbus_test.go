package localbus_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/bus/localbus"
)

var _ interface {
	bus.Publisher
	bus.Subscriber
	bus.Directory
} = (*localbus.Bus)(nil)

// receiver keeps what it receives.
type receiver struct {
	payloads [][]byte
	users    []string
	traces   [][]string
	rooms    []string
	holds    int
}

func (r *receiver) ReceiveRoom(payload []byte, traces []string) int {
	r.rooms, r.traces = append(r.rooms, string(payload)), append(r.traces, traces)
	return r.holds
}

func (r *receiver) Receive(user string, payload []byte, traces []string) {
	r.users, r.payloads, r.traces = append(r.users, user), append(r.payloads, payload), append(r.traces, traces)
}
func (r *receiver) Disrupted()      {}
func (r *receiver) Hinted([]string) {}

func TestEventsReachTheSubscriberInOrderAndNobodyElse(t *testing.T) {
	var r receiver
	b := localbus.New(&r, nil)
	_, err := b.Subscribe(t.Context(), "bob")
	require.NoError(t, err)
	buffer := []byte("one")
	require.NoError(t, b.Publish("bob", buffer, []string{"trace"}))
	copy(buffer, "two")
	require.NoError(t, b.Publish("bob", buffer, nil))
	require.NoError(t, b.Publish("carol", buffer, nil))
	require.Equal(t, []string{"bob", "bob"}, r.users)
	require.Equal(t, [][]byte{[]byte("one"), []byte("two")}, r.payloads, "the payload is the receiver's to keep")
	require.Equal(t, [][]string{{"trace"}, nil}, r.traces)
	require.True(t, b.Connected())
	require.NoError(t, b.Flush(t.Context()))
}

// TestAUserIsSubscribedUntilTheLastSubscriptionEnds: a mailbox may begin before the previous one has ended.
func TestAUserIsSubscribedUntilTheLastSubscriptionEnds(t *testing.T) {
	var r receiver
	b := localbus.New(&r, nil)
	first, err := b.Subscribe(t.Context(), "bob")
	require.NoError(t, err)
	second, err := b.Subscribe(t.Context(), "bob")
	require.NoError(t, err)
	require.NoError(t, first.Unsubscribe())
	require.NoError(t, first.Unsubscribe())
	require.NoError(t, b.Publish("bob", []byte("x"), nil))
	require.Len(t, r.users, 1)
	require.NoError(t, second.Unsubscribe())
	require.NoError(t, b.Publish("bob", []byte("x"), nil))
	require.Len(t, r.users, 1)
}

func TestTheOnlyNodeAnswersWhileItIsThere(t *testing.T) {
	b := localbus.New(&receiver{}, nil)
	answers, err := b.Ask(t.Context())
	require.NoError(t, err)
	require.Empty(t, answers)
	stop, err := b.Answer(func() []byte { return []byte("here") })
	require.NoError(t, err)
	answers, err = b.Ask(t.Context())
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("here")}, answers)
	require.NoError(t, stop())
	answers, err = b.Ask(t.Context())
	require.NoError(t, err)
	require.Empty(t, answers)
}

func TestARoomReachesTheReceiverWhoeverIsSubscribed(t *testing.T) {
	var r receiver
	b := localbus.New(&r, nil)
	require.Equal(t, 1, b.Receivers())
	require.NoError(t, b.PublishRoom([]byte("room"), []string{"trace"}))
	require.Equal(t, []string{"room"}, r.rooms)
	require.Equal(t, [][]string{{"trace"}}, r.traces)
	require.Empty(t, r.users)
}

func TestItCountsAsEveryBusDoes(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	b := localbus.New(&receiver{holds: 3}, reg)
	_, err := b.Subscribe(t.Context(), "bob")
	require.NoError(t, err)
	require.NoError(t, b.Publish("bob", nil, nil))
	require.NoError(t, b.Publish("carol", nil, nil))
	require.NoError(t, b.PublishRoom(nil, nil))
	for name, want := range map[string]float64{"sealpost_bus_published_total": 3, "sealpost_bus_received_total": 4, "sealpost_bus_connected": 1} {
		families, err := reg.Gather()
		require.NoError(t, err)
		sum := 0.0
		for _, f := range families {
			if f.GetName() == name {
				for _, m := range f.GetMetric() {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		require.Equal(t, want, sum, name) //nolint:testifylint // whole numbers
	}
	require.Positive(t, testutil.CollectAndCount(reg))
}
