package gateway

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// publishTogether sends the events of items in one payload.
func (r *rig) publishTogether(items ...inbox.Item) { r.publishTraced(nil, items...) }

// publishTraced is publishTogether with the traces of the sends.
func (r *rig) publishTraced(traces []string, items ...inbox.Item) {
	var payload []byte
	for _, item := range items {
		event := delivery.For(item)
		payload = event.AppendTo(payload)
	}
	r.Receive("bob", payload, traces)
}

func (r *rig) fill(n int) (items []inbox.Item) {
	for range n {
		items = append(items, r.shelf.add(store.Received))
	}
	return items
}

func TestEventsThatComeTogetherAreOneAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		r.publishTogether(r.fill(3)...)
		require.Equal(t, []int64{1, 2, 3}, positions(t, (<-poll).Answer))
	})
}

// TestAMessageComesWithTheTraceOfItsSend, not with that of another message in its payload. Traces that do not match the events do not
// hold a message back.
func TestAMessageComesWithTheTraceOfItsSend(t *testing.T) {
	const first, third = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, traces := range [][]string{nil, {first}, {first, "", third}, {"nonsense", "", first[:54] + "0"}} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			poll := r.start(r.query(0, time.Minute))
			r.publishTraced(traces, r.fill(3)...)
			answer := <-poll
			require.Equal(t, []int64{1, 2, 3}, positions(t, answer.Answer))
			for i, o := range answer.Objects {
				switch {
				case len(traces) == 3 && (traces[i] == first || traces[i] == third):
					require.Equal(t, traces[i], tracing.Traceparent(o.Trace))
				default:
					require.Nil(t, o.Trace)
				}
			}
		})
	}
}

// TestEventsOutOfOrderCostNoReadWhileTheHeadMovesOn: overlapping sends end out of order, and under load some event is always ahead. The
// store is read only when the head stands still.
func TestEventsOutOfOrderCostNoReadWhileTheHeadMovesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(21)
		poll := r.start(r.query(21, time.Minute))
		pass(2 * firstVerify)
		require.Empty(t, poll)
		reads := r.shelf.readCount()
		at := int64(21)
		for range 10 {
			items := r.fill(2)
			r.publish(items[1])
			pass(gapTimeout - time.Millisecond)
			require.Empty(t, poll)
			r.publish(items[0])
			got := <-poll
			require.Equal(t, []int64{at + 1, at + 2}, positions(t, got.Answer))
			at += 2
			poll = r.start(r.query(at, time.Minute))
		}
		require.Equal(t, reads, r.shelf.readCount())
		require.Zero(t, testutil.ToFloat64(r.metrics.gaps))
	})
}

func TestAnEventThatIsLostIsReadOnceItsSuccessorHasWaited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		reads := r.shelf.readCount()
		began := time.Now()
		items := r.fill(2)
		r.publish(items[1])
		require.Equal(t, []int64{1, 2}, positions(t, (<-poll).Answer))
		require.Equal(t, gapTimeout, time.Since(began))
		require.Equal(t, reads+1, r.shelf.readCount())
		require.Equal(t, 1.0, testutil.ToFloat64(r.metrics.gaps))
	})
}

// TestAGapThatOpenedWhileNobodyWaitedIsSeenByTheNextPoll: without a read the head would never pass the gap.
func TestAGapThatOpenedWhileNobodyWaitedIsSeenByTheNextPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		<-r.start(r.query(0, 0))
		items := r.fill(2)
		r.publish(items[1])
		pass(2 * gapTimeout)
		began := time.Now()
		require.Equal(t, []int64{1, 2}, positions(t, (<-r.start(r.query(0, time.Minute))).Answer))
		require.LessOrEqual(t, time.Since(began), gapTimeout)
	})
}

// TestAnUndecidedPositionBelowAnEventIsNotReadOverAndOver: its sender has not committed yet, or is dead.
func TestAnUndecidedPositionBelowAnEventIsNotReadOverAndOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		reads := r.shelf.readCount()
		r.shelf.addUndecided(store.Received)
		r.publish(r.shelf.addUndecided(store.Received))
		pass(10 * time.Second)
		require.Empty(t, poll)
		require.Less(t, r.shelf.readCount()-reads, 20)
		r.shelf.decide()
		require.Equal(t, []int64{1, 2}, positions(t, (<-poll).Answer))
	})
}

func TestAPayloadThatIsNotUnderstoodHasTheStoreRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		r.fill(1)
		began := time.Now()
		r.Receive("bob", []byte("v9 something else"), nil)
		require.Equal(t, []int64{1}, positions(t, (<-poll).Answer))
		require.Zero(t, time.Since(began))
		// With no waiter, the next poll reads the store.
		r.fill(1)
		r.Receive("bob", []byte("v9 something else"), nil)
		require.Equal(t, []int64{2}, positions(t, (<-r.start(r.query(1, 0))).Answer))
	})
}

// TestABurstIsAnsweredFromMemory: the ring keeps it as long as there is room, and not for ever.
func TestABurstIsAnsweredFromMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.RingEvents = 100 })
		poll := r.start(r.query(0, time.Hour))
		r.publishTogether(r.fill(50)...)
		<-poll
		reads := r.shelf.readCount()
		require.Len(t, positions(t, (<-r.start(r.query(10, 0))).Answer), 40)
		require.Equal(t, reads, r.shelf.readCount())
		require.Positive(t, r.ringBytes.Load())
		waiting := r.start(r.query(50, time.Hour))
		pass(3 * time.Minute)
		require.Zero(t, r.ringBytes.Load(), "kept for ever")
		r.send()
		<-waiting
	})
}

// TestAllRingsTogetherAreBounded: events that had no room are read from the store.
func TestAllRingsTogetherAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.RingEvents, c.AllRingBytes = 100, 2000 })
		poll := r.start(r.query(0, time.Minute))
		r.publishTogether(r.fill(50)...)
		<-poll
		require.LessOrEqual(t, r.ringBytes.Load(), int64(2000))
		require.Len(t, positions(t, (<-r.start(r.query(10, 0))).Answer), 40)
	})
}

// TestEventsThatWaitAreBounded: above the limit their objects are dropped, and read from the store.
func TestEventsThatWaitAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.RingBytes = 2000 })
		poll := r.start(r.query(0, time.Minute))
		items := r.fill(50)
		r.publishTogether(items[1:]...)
		m := r.find("bob")
		m.mu.Lock()
		require.Positive(t, m.reorder.bytes)
		require.LessOrEqual(t, m.reorder.bytes, 2000)
		m.mu.Unlock()
		got := <-poll
		require.Equal(t, int64(1), positions(t, got.Answer)[0])
		m.mu.Lock()
		require.Zero(t, m.reorder.bytes)
		m.mu.Unlock()
	})
}

// TestAnEventWithoutAPositionHasTheStoreRead: its sender does not know the position of the message.
func TestAnEventWithoutAPositionHasTheStoreRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		item := r.shelf.add(store.Received)
		encoder := delivery.NewMessageEncoder(item.Message)
		item.Entry.Position = 0
		event := encoder.For(item.Entry)
		began := time.Now()
		r.Receive("bob", event.Encode(), nil)
		require.Equal(t, []int64{1}, positions(t, (<-poll).Answer))
		require.Less(t, time.Since(began), firstVerify)
		require.Zero(t, testutil.ToFloat64(r.metrics.malformed))
	})
}
