package gateway

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// caller is a user with a token.
func caller(user string) token.Identity {
	return token.Identity{Username: user, Subject: user, SessionID: "s" + user, TokenID: "t" + user, ExpiresAt: time.Now().Add(time.Hour)}
}

// names makes n user names.
func names(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("user%04d", i))
	}
	return list
}

// room appends to a payload the room of a message at a position in the inbox of each of these users.
func room(payload []byte, position int64, users ...string) []byte {
	m := store.Message{
		ID: store.MessageID{byte(position)}, Sender: "Alice", Recipients: users, Content: fmt.Sprintf("%0400d", position), CreatedAt: time.Now(),
	}
	var entries []store.Entry
	expires := time.Now().Add(time.Hour)
	for _, u := range users {
		entries = append(entries, store.Entry{
			User: u, Position: position, Kind: store.Received, WrappedKey: fmt.Sprintf("%s%0336d", u, 1), ExpiresAt: expires,
		})
	}
	payload, _ = delivery.NewMessageEncoder(m).AppendRoom(payload, entries, true, 1<<20)
	return payload
}

// wait begins a poll of a user that waits after a position.
func (r *rig) wait(user string, after int64) <-chan result {
	return r.start(Query{Caller: caller(user), After: after, Limit: 100, Wait: time.Minute})
}

// TestARoomReachesTheMailboxesOfItsMembers on this node, without a read of the store. The mailboxes share what is common and do not
// retain the payload.
func TestARoomReachesTheMailboxesOfItsMembers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		one, three, other := r.wait("user0001", 0), r.wait("user0003", 0), r.wait("somebody", 0)
		reads := r.shelf.readCount()
		payload := room(nil, 1, names(1024)...)
		require.Equal(t, 2, r.ReceiveRoom(payload, nil))
		clear(payload)
		a, b := <-one, <-three
		require.Equal(t, []int64{1}, positions(t, a.Answer))
		require.Equal(t, []int64{1}, positions(t, b.Answer))
		require.Equal(t, reads, r.shelf.readCount())
		require.Contains(t, string(a.Objects[0].JSON.Own), `{"user0001":"user0001000`)
		require.Contains(t, string(b.Objects[0].JSON.Own), `{"user0003":"user0003000`)
		require.Same(t, &a.Objects[0].JSON.Common[0], &b.Objects[0].JSON.Common[0])
		require.Less(t, cap(a.Objects[0].JSON.Own), 1024)
		require.Empty(t, other)
		require.Nil(t, a.Objects[0].Trace)
		// Shared bytes count for each mailbox: too many, never too few.
		require.EqualValues(t, a.Objects[0].JSON.Len()+b.Objects[0].JSON.Len(), r.ringBytes.Load())
		// The ring answers a repeated poll.
		require.Equal(t, []int64{1}, positions(t, (<-r.wait("user0001", 0)).Answer))
	})
}

// TestRoomsThatComeTogetherAreOneAnswer for each recipient, in any order of the rooms. Each message has its trace.
func TestRoomsThatComeTogetherAreOneAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		one, two := r.wait("user0000", 0), r.wait("user0001", 0)
		payload := room(room(room(nil, 2, "user0000"), 1, names(2)...), 3, "user0000")
		traces := []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
		require.Equal(t, 2, r.ReceiveRoom(payload, traces))
		got := <-one
		require.Equal(t, []int64{1, 2, 3}, positions(t, got.Answer))
		require.Nil(t, got.Objects[0].Trace)
		require.Equal(t, traces[0], tracing.Traceparent(got.Objects[1].Trace))
		require.Equal(t, traces[2], tracing.Traceparent(got.Objects[2].Trace))
		require.Equal(t, []int64{1}, positions(t, (<-two).Answer))
	})
}

// TestAReferenceInARoomHasTheStoreRead, and so does an entry whose position the sender does not know.
func TestAReferenceInARoomHasTheStoreRead(t *testing.T) {
	for _, position := range []int64{1, 0} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			poll := r.start(r.query(0, time.Minute))
			item := r.shelf.add(store.Received)
			item.Entry.Position = position
			payload, _ := delivery.NewMessageEncoder(item.Message).AppendRoom(nil, []store.Entry{item.Entry}, false, 1<<20)
			began := time.Now()
			require.Equal(t, 1, r.ReceiveRoom(payload, nil))
			require.Equal(t, []int64{1}, positions(t, (<-poll).Answer))
			require.Less(t, time.Since(began), firstVerify)
			require.Zero(t, testutil.ToFloat64(r.metrics.malformed))
		})
	}
}

// TestARoomThatIsNotUnderstoodHasTheStoreRead for all users: its recipients are unknown.
func TestARoomThatIsNotUnderstoodHasTheStoreRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		pass(2 * firstVerify)
		r.shelf.add(store.Received)
		began := time.Now()
		require.Zero(t, r.ReceiveRoom([]byte("something else"), nil))
		require.Equal(t, []int64{1}, positions(t, (<-poll).Answer))
		require.LessOrEqual(t, time.Since(began), r.cfg.AwayEvery)
		require.Equal(t, 1.0, testutil.ToFloat64(r.metrics.malformed))
	})
}

// BenchmarkToAll gives a gateway a message to many recipients; either all or one in fifty have a mailbox here. It compares a room with an
// event each, where the bus delivers only the events of users with a mailbox here.
func BenchmarkToAll(b *testing.B) {
	for _, n := range []int{20, 1024} {
		for _, share := range []int{1, 50} {
			all := names(n)
			var held []string
			for i := 0; i < n; i += share {
				held = append(held, all[i])
			}
			name := fmt.Sprintf("recipients=%d/held=%d", n, len(held))
			b.Run(name+"/form=room", func(b *testing.B) {
				g := benchGateway(b, held)
				payload := room(nil, 1, all...)
				b.ReportAllocs()
				for b.Loop() {
					g.forget(held)
					if g.ReceiveRoom(payload, nil) != len(held) {
						b.Fatal("somebody was left out")
					}
				}
			})
			b.Run(name+"/form=each", func(b *testing.B) {
				g := benchGateway(b, held)
				payloads := each(1, held, all)
				b.ReportAllocs()
				for b.Loop() {
					g.forget(held)
					for i, user := range held {
						g.Receive(user, bytes.Clone(payloads[i]), nil) // as a bus does
					}
				}
			})
		}
	}
}

// each makes the payloads for some of a message's recipients.
func each(position int64, users, all []string) (payloads [][]byte) {
	encoder := delivery.NewMessageEncoder(store.Message{Sender: "Alice", Recipients: all, Content: fmt.Sprintf("%0400d", position), CreatedAt: time.Now()})
	for _, u := range users {
		payloads = append(payloads, encoder.AppendFor(nil, store.Entry{
			User: u, Position: position, Kind: store.Received, WrappedKey: fmt.Sprintf("%s%0336d", u, 1), ExpiresAt: time.Now().Add(time.Hour),
		}))
	}
	return payloads
}

type crowded struct{ *Gateway }

// benchGateway has a mailbox for each of these users, at the beginning of the log.
func benchGateway(b *testing.B, users []string) crowded {
	b.Helper()
	g := crowded{newBenchGateway()}
	b.Cleanup(g.Stop)
	for _, u := range users {
		_, err := g.Poll(context.Background(), Query{Caller: caller(u), After: 0, Limit: 100})
		require.NoError(b, err)
	}
	runtime.GC()
	return g
}

// forget resets the mailboxes of these users to the beginning of the log.
func (g crowded) forget(users []string) {
	for _, u := range users {
		m := g.find(u)
		m.mu.Lock()
		m.dropRing(len(m.ring.events))
		m.head = 0
		m.mu.Unlock()
	}
}
