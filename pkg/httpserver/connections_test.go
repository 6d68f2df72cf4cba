package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/httpserver"
)

// from connects to a server from an address of the loopback network.
func from(t *testing.T, server, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.DialContext(t.Context(), "tcp", server)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask makes a request on a connection, and reports whether it was answered.
func ask(t *testing.T, conn net.Conn, path string) bool {
	t.Helper()
	_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	if err != nil {
		return false
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close()) == nil && res.StatusCode == http.StatusOK
}

// requireClosed waits until the server has closed a connection.
func requireClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	var slow net.Error
	require.False(t, errors.As(err, &slow) && slow.Timeout(), "it is open still")
}

// TestIdleConnectionsOfOneAddressKeepNobodyOut, whether they have asked for something or not.
func TestIdleConnectionsOfOneAddressKeepNobodyOut(t *testing.T) {
	const most = 8
	r := newRig(t, httpserver.Config{MaxConnections: most}, func(r gin.IRouter) {
		r.GET("/page", func(c *gin.Context) { c.Status(http.StatusOK) })
	})
	server := r.server.Address()
	var eves []net.Conn
	for i := range most {
		eve := from(t, server, "127.0.1.1")
		if i%2 == 0 {
			require.True(t, ask(t, eve, "/page"))
		}
		eves = append(eves, eve)
	}
	require.Eventually(t, func() bool { return !ask(t, from(t, server, "127.0.1.1"), "/page") }, patience, time.Millisecond, "one more than there may be")
	ann, ben := from(t, server, "127.0.2.1"), from(t, server, "127.0.2.2")
	require.True(t, ask(t, ann, "/page"))
	require.True(t, ask(t, ben, "/page"))
	requireClosed(t, eves[0])
	requireClosed(t, eves[1])
	require.True(t, ask(t, eves[most-1], "/page"))
	require.True(t, ask(t, ann, "/page"))
}

// TestAConnectionMakesRoomAfterItsAnswer: nobody is cut off in an answer.
func TestAConnectionMakesRoomAfterItsAnswer(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	r := newRig(t, httpserver.Config{MaxConnections: 2}, func(r gin.IRouter) {
		r.GET("/page", func(c *gin.Context) { c.Status(http.StatusOK) })
		r.GET("/slow", func(c *gin.Context) { close(asked); <-answer; c.Status(http.StatusOK) })
	})
	server := r.server.Address()
	busy, answered := from(t, server, "127.0.1.1"), make(chan bool)
	go func() { answered <- ask(t, busy, "/slow") }()
	<-asked
	require.True(t, ask(t, from(t, server, "127.0.1.1"), "/page"))
	require.True(t, ask(t, from(t, server, "127.0.2.1"), "/page"))
	close(answer)
	require.True(t, <-answered)
	requireClosed(t, busy)
}

// TestATrustedProxysConnectionsAreNotCounted: they are everybody's.
func TestATrustedProxysConnectionsAreNotCounted(t *testing.T) {
	r := newRig(t, httpserver.Config{MaxConnections: 1, TrustedProxies: []string{"127.0.3.0/24"}}, func(r gin.IRouter) {
		r.GET("/page", func(c *gin.Context) { c.Status(http.StatusOK) })
	})
	for range 5 {
		require.True(t, ask(t, from(t, r.server.Address(), "127.0.3.1"), "/page"))
	}
}
