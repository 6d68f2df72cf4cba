package natsbus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
)

// line puts a Line in front of a server.
func line(t *testing.T, url string) (l *enginetest.Line, through string) {
	t.Helper()
	l = enginetest.NewLine(t, strings.TrimPrefix(url, "nats://"))
	return l, "nats://" + l.Addr()
}

// TestAConnectionThatGoesSilentIsTakenForNone within seconds, and not only after half a minute, when the client gives it up.
func TestAConnectionThatGoesSilentIsTakenForNone(t *testing.T) {
	l, url := line(t, address(t))
	r := newReceiver()
	b := connect(t, url, r)
	_, err := b.Subscribe(t.Context(), user(t, "bob"))
	require.NoError(t, err)
	before := r.disrupted()
	began := time.Now()
	l.Stall(true)
	require.Eventually(t, func() bool { return !b.Connected() && r.disrupted() > before }, patience, time.Millisecond)
	require.Less(t, time.Since(began), 10*time.Second)

	silent := r.disrupted()
	l.Stall(false)
	require.Eventually(t, func() bool { return b.Connected() && r.disrupted() > silent }, patience, time.Millisecond)
}

// TestAFlushConfirmsWhatWasPublishedBeforeAndNothingElse.
func TestAFlushConfirmsWhatWasPublishedBeforeAndNothingElse(t *testing.T) {
	l, url := line(t, address(t))
	b := connect(t, url, nil)
	bob := user(t, "bob")
	publish := func() { require.NoError(t, b.Publish(bob, []byte("x"), nil)) }
	publish()
	require.NoError(t, b.Flush(t.Context()))
	require.NoError(t, b.Flush(t.Context()))

	publish()
	reconnect(t, b, l)
	require.ErrorIs(t, b.Flush(t.Context()), bus.ErrDisconnected, "the connection it went over is another one")
	publish()
	require.NoError(t, b.Flush(t.Context()), "this one went over the connection that stands")

	publish()
	l.Stall(true)
	began := time.Now()
	require.ErrorIs(t, b.Flush(t.Context()), bus.ErrDisconnected)
	require.Less(t, time.Since(began), 10*time.Second)

	l.Stall(false)
	reconnect(t, b, l)
	require.ErrorIs(t, b.Flush(t.Context()), bus.ErrDisconnected)
	require.NoError(t, b.Flush(t.Context()))
}

// reconnect makes a bus lose its connection, and waits for the next.
func reconnect(t *testing.T, b bus.Subscriber, l *enginetest.Line) {
	t.Helper()
	l.Cut()
	require.Eventually(t, func() bool { return !b.Connected() }, patience, time.Millisecond)
	require.Eventually(t, b.Connected, patience, time.Millisecond)
}
