package natsbus_test

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stalling is a server that greets clients and then reads nothing more.
func stalling(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			_, _ = c.Write([]byte("INFO {\"server_id\":\"s\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n"))
			for lines := bufio.NewReader(c); ; {
				if line, err := lines.ReadString('\n'); err != nil || strings.HasPrefix(line, "PING") {
					break
				}
			}
			_, _ = c.Write([]byte("PONG\r\n"))
		}
	}()
	return "nats://" + l.Addr().String()
}

// TestAServerThatTakesNothingDoesNotStopThoseWhoPublish: a write that blocks for a second is an error, and the bus replaces the
// connection.
func TestAServerThatTakesNothingDoesNotStopThoseWhoPublish(t *testing.T) {
	r := newReceiver()
	b := connect(t, stalling(t), r)
	require.Eventually(t, b.Connected, 20*time.Second, time.Millisecond)
	before := r.disrupted()
	failed := make(chan error, 1)
	go func() {
		payload := make([]byte, 60_000)
		for {
			if err := b.Publish("bob", payload, nil); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case err := <-failed:
		require.Error(t, err)
	case <-time.After(30 * time.Second): // without its own timeout it takes a minute
		require.Fail(t, "who publishes waits for a server that takes nothing")
	}
	require.Eventually(t, func() bool { return r.disrupted() > before }, 20*time.Second, time.Millisecond)
}
