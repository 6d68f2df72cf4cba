package cluster_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
)

// TestAClientThatLeavesBehindTheLoadBalancerLosesNothing: without abortonclose HAProxy took the answer for it, and the next poll got the
// message after that.
func TestAClientThatLeavesBehindTheLoadBalancerLosesNothing(t *testing.T) {
	r := newRig(t, options{settings: func(string, int) []string { return []string{"POLL_WAIT=20s"} }})
	alice, bob := r.user("Alice"), r.user("Bob")
	open := func() (sum float64) {
		for _, n := range r.Nodes[cluster.Gateway] {
			sum += r.metric(n, "sealpost_gateway_open_polls")
		}
		return sum
	}
	messages := r.Nodes[cluster.Messages][0]
	for round, linger := range []int{-1, 0} { // closed with FIN, and with RST
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", r.Balancer.Addr())
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).SetLinger(linger))
		_, err = fmt.Fprintf(conn, "GET /api/messages/poll HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", bob)
		require.NoError(t, err)
		until(t, "the poll waits", func() bool { return open() == 1 })
		require.NoError(t, conn.Close())
		until(t, "the gateway learns that its client has left", func() bool { return open() == 0 })
		for _, text := range []string{"first", "second"} {
			r.send(messages, alice, fmt.Sprint(text, round), "Bob")
		}
		for _, text := range []string{"first", "second"} {
			var p api.PollResponse
			require.Equal(t, http.StatusOK, call(t, r.Balancer.URL(), http.MethodGet, "/api/messages/poll", bob, nil, &p))
			require.NotNil(t, p.Data, "%v", p)
			require.Equal(t, fmt.Sprint(text, round), p.Data.EncryptedContent)
		}
	}
}

// TestAnEventSourceComesBackWhileNoGatewayCanBeReached: it would take a 503 as final.
func TestAnEventSourceComesBackWhileNoGatewayCanBeReached(t *testing.T) {
	r := newRig(t, options{})
	bob := r.user("Bob")
	open := func() (line string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.Balancer.URL()+"/api/messages/stream?after=latest", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+bob)
		req.Header.Set("Accept", "text/event-stream")
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, res.Body.Close()) }()
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
		line, err = bufio.NewReader(res.Body).ReadString('\n')
		require.NoError(t, err)
		return line
	}
	for _, n := range r.Nodes[cluster.Gateway] {
		require.NoError(t, n.Stop(t.Context()))
		open()
	}
	// Whether or not the load balancer has noticed.
	for began := time.Now(); time.Since(began) < 3*time.Second; {
		require.Equal(t, "retry: 4000\n", open())
	}
	for _, n := range r.Nodes[cluster.Gateway] {
		require.NoError(t, n.Start(t.Context()))
	}
	until(t, "a gateway serves it again", func() bool { return open() != "retry: 4000\n" })
}
