package cluster_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/cluster"
)

// TestSlowClientsAndAHugeInboxDisturbNobodyElse: clients request the pages of a huge inbox and never read the answers, while the crowd goes
// on.
func TestSlowClientsAndAHugeInboxDisturbNobodyElse(t *testing.T) {
	const messages, size, clients = 64, 256 << 10, 12
	r := newRig(t, options{})
	names := make([]string, clients) // one user alone has only a share of the bound for unread answers
	readers := make([]string, clients)
	for i := range clients {
		names[i] = fmt.Sprint("Bob", i)
		readers[i] = r.user(names[i])
	}
	c := r.crowdOf(20)
	c.Start()
	content := strings.Repeat("00", size/2)
	for i := range messages {
		r.send(r.Nodes[cluster.Messages][i%2], readers[0], content, names...)
	}
	for _, n := range r.Nodes[cluster.Gateway] {
		for _, bob := range readers {
			r.askAndDoNotRead(n, bob)
		}
	}
	moreSends(t, c, 200)
	for _, n := range r.Nodes[cluster.Gateway] {
		memory := r.metric(n, "process_resident_memory_bytes")
		require.Less(t, memory, float64(idleBytes), n.Name())
		t.Logf("%s: %d MiB with %d clients that do not read %d MiB", n.Name(), int(memory)>>20, clients, messages*size>>20)
	}
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
}

// askAndDoNotRead requests all messages and leaves the answer unread until the test ends.
func (r *rig) askAndDoNotRead(n *cluster.Node, token string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", n.Addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	// This side buffers as little of the answer as the system allows.
	require.NoError(r.t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = fmt.Fprintf(conn, "GET /api/messages/poll?after=0&limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
	require.NoError(r.t, err)
	line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	require.NoError(r.t, err)
	require.Contains(r.t, line, "200")
}

// TestAboveItsCapacityAGatewayAsksForPatience: of a thousand polls at once at a gateway with room for a hundred, each is parked or told
// when to retry, at different times; earlier polls go on.
func TestAboveItsCapacityAGatewayAsksForPatience(t *testing.T) {
	const polls = 1000
	r := newRig(t, options{settings: func(service string, _ int) []string {
		if service != cluster.Gateway {
			return nil
		}
		return []string{"MAX_POLLS=100", "MAX_POLLS_PER_USER=100"}
	}})
	bob := r.user("Bob")
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 20)
	gateway := r.Nodes[cluster.Gateway][0]
	var mu sync.Mutex
	patience, parked := map[string]int{}, 0
	var asking sync.WaitGroup
	for range polls {
		asking.Go(func() {
			a := ask(t, gateway.URL(), http.MethodGet, "/api/messages/poll?wait=10&after=latest", bob, nil)
			mu.Lock()
			defer mu.Unlock()
			switch a.status {
			case http.StatusServiceUnavailable:
				patience[a.header.Get("Retry-After")]++
			case http.StatusOK:
				parked++
			}
		})
	}
	asking.Wait()
	refused := 0
	for value, n := range patience {
		require.NotEmpty(t, value, "a refusal says when to come again")
		refused += n
	}
	t.Logf("%d polls were parked, %d refused, with Retry-After %v", parked, refused, patience)
	require.Equal(t, polls, parked+refused, "no other answer, and no broken connection")
	require.NotZero(t, refused)
	require.Greater(t, len(patience), 1, "they are not to come back all at once")
	moreSends(t, c, 50)
	r.judge(c)
}
