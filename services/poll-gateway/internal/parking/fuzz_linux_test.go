package parking

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzReturned: a connection that comes back has every byte that followed the request that parks, in order, whether it was sent with the
// request, while the client waited, or after the answer.
func FuzzReturned(f *testing.F) {
	i := newInn(f, quick())
	back := make(chan net.Conn)
	// The connections come back to the test instead of the server.
	own := newReturned()
	i.lot.returned, own = own, i.lot.returned
	f.Cleanup(func() { _ = own.Close() })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := i.lot.returned.Accept()
			if err != nil {
				return
			}
			back <- c
		}
	}()
	f.Cleanup(func() {
		_ = i.lot.returned.Close()
		<-ended
	})
	f.Add([]byte("GET /next HTTP/1.1\r\nHost: inn\r\n\r\n"), uint16(3), uint16(10))
	f.Add(bytes.Repeat([]byte("0123456789"), 2000), uint16(9000), uint16(0))
	f.Add([]byte("\r\n"), uint16(0), uint16(1))
	f.Add([]byte("x"), uint16(1), uint16(0))
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, tail []byte, ahead, meanwhile uint16) {
		with := tail[:min(int(ahead), len(tail))]
		during := tail[len(with):min(len(with)+int(meanwhile), len(tail))]
		after := tail[len(with)+len(during):]
		c := i.dialFor(t)
		send := func(b []byte) {
			_, err := c.Write(b)
			require.NoError(t, err)
		}
		send(append([]byte("GET /park HTTP/1.1\r\nHost: inn\r\n\r\n"), with...))
		v := eventually(t, i.arrived)
		send(during)
		v.answer("answer")
		c.expect("answer")
		send(after)
		require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
		if len(tail) == 0 {
			c.expectEnd()
			return
		}
		returned := eventually(t, back)
		require.NoError(t, returned.SetDeadline(time.Now().Add(patience)))
		got, err := io.ReadAll(returned)
		require.NoError(t, err)
		require.Equal(t, string(tail), string(got))
		require.NoError(t, returned.Close())
	})
}
