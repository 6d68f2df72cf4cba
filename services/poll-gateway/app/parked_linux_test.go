package app

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus/natsbus"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

// crowdVar makes the test binary run the other process of BenchmarkParked: the clients and the bus.
const crowdVar = "SEALPOST_PARKED_CROWD"

func TestMain(m *testing.M) {
	if os.Getenv(crowdVar) != "" {
		if err := runCrowd(os.Stdin, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// empty is an empty inbox, with sessions at the beginning.
type empty struct {
	store.Sessions
	store.Meta
}

func (empty) Read(_ context.Context, _ string, after int64, _ int) (inbox.Batch, error) {
	return inbox.Batch{Next: after}, nil
}
func (empty) Receipts(context.Context, store.Message) ([]store.ReadReceipt, error) { return nil, nil }
func (empty) Head(context.Context, string, int64) (int64, error)                   { return 0, nil }
func (empty) Epoch(context.Context) (string, error)                                { return "epoch", nil }
func (empty) Revoked(token.Identity) bool                                          { return false }
func (empty) Watch(func(revocation.Record)) (stop func())                          { return func() {} }

func (empty) SessionCursor(context.Context, string, string) (store.SessionCursor, error) {
	return store.SessionCursor{}, nil
}

// Check takes the user name from a token, and copies its strings as a real check would.
func (empty) Check(_ context.Context, text string) (token.Identity, error) {
	name := strings.Clone(text[strings.LastIndexByte(text, '.')+1:])
	return token.Identity{
		Username: name, Subject: strings.ToLower(name), SessionID: "s" + name + "0123456789abcdef", TokenID: "t" + name + "0123456789abcdef",
		ExpiresAt: time.Now().Add(time.Hour),
	}, nil
}

// node is a poll gateway with everything its process has.
type node struct {
	app    *App
	server *httpserver.Server
	bus    *natsbus.Bus
}

func startNode(b *testing.B, nats string, parks bool) *node {
	registry, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	a, err := New(Config{
		MaxPolls: 1 << 20, MaxPollsPerUser: 64, PollWait: time.Minute, RingEvents: 16, RingBytes: 64 << 10, AllRingBytes: 1 << 26, VerifyEvery: time.Minute,
		PollsPerMinute: 3000, StoreReads: 64, MaxUnread: leastUnread, ParkPolls: parks,
	}, Deps{
		Inbox: empty{}, Sessions: empty{}, Meta: empty{}, Tokens: empty{}, Revocations: empty{}, Log: log, Registry: registry,
		Limiter:     func(_ string, q ratelimit.Quota) ratelimit.Limiter { return ratelimit.NewInProcess(q, 0) },
		IdleTimeout: time.Minute,
	})
	require.NoError(b, err)
	n := &node{app: a}
	n.bus, err = natsbus.Connect(nats, natsbus.Options{Name: "bench", Log: log, Registerer: registry, Receiver: a.Receiver()})
	require.NoError(b, err)
	a.Attach(n.bus)
	n.server, err = httpserver.New(b.Context(), httpserver.Config{
		AdminAddress: "127.0.0.1:0", MaxHeaderBytes: 1 << 14, IdleTimeout: time.Minute,
	}, httpserver.Options{Address: "127.0.0.1:0", Log: log, Registry: registry, Connections: a.Open, Keeper: a.Keeper()})
	require.NoError(b, err)
	a.Routes(n.server.Routes())
	go func() { _ = n.server.Serve() }()
	return n
}

func (n *node) stop(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(b, n.app.Drain(ctx))
	require.NoError(b, n.server.Shutdown(ctx))
	n.app.Stop()
	n.bus.Close()
}

// BenchmarkParked measures what a waiting poll or stream costs the gateway's process. Run it with -benchtime=18000x, for example: that
// many wait, each of another user, from another process. The blocked ones show the cost without a Lot.
//
//   - RSS-B is the growth of the process's resident memory per poll, when all wait;
//   - trimmed-B is the same after garbage was collected and memory returned to the system;
//   - heap-B is reachable memory.
func BenchmarkParked(b *testing.B) {
	for _, kind := range []string{"poll", "stream"} {
		b.Run(kind, func(b *testing.B) { benchmarkHeld(b, kind, true) })
		b.Run("blocked "+kind, func(b *testing.B) { benchmarkHeld(b, kind, false) })
	}
}

func benchmarkHeld(b *testing.B, kind string, parks bool) {
	tuneGC()
	c := startCrowd(b)
	n := startNode(b, c.line(b), parks)
	runtime.GC()
	debug.FreeOSMemory()
	rss, heap, goroutines := residentBytes(b), heapBytes(), runtime.NumGoroutine()
	b.ResetTimer()
	c.say(b, "%s %s %d", kind, n.server.Address(), b.N)
	require.Equal(b, "sent", c.line(b))
	require.Eventually(b, func() bool {
		return n.app.Open() == int64(b.N) && (!parks || runtime.NumGoroutine() < goroutines+100)
	}, time.Minute, 10*time.Millisecond)
	b.StopTimer()
	per := func(grown int64) float64 { return float64(grown) / float64(b.N) }
	b.ReportMetric(per(residentBytes(b)-rss), "RSS-B")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
	debug.FreeOSMemory()
	b.ReportMetric(per(residentBytes(b)-rss), "trimmed-B")
	b.ReportMetric(per(heapBytes()-heap), "heap-B")
	n.stop(b)
	c.say(b, "end")
	require.NoError(b, c.cmd.Wait())
}

// residentBytes is the resident memory of this process.
func residentBytes(tb testing.TB) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(tb, err)
	pages, err := strconv.ParseInt(string(bytes.Fields(text)[1]), 10, 64)
	require.NoError(tb, err)
	return pages * int64(os.Getpagesize())
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// crowd is the clients' process.
type crowd struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startCrowd(b *testing.B) *crowd {
	c := &crowd{cmd: exec.CommandContext(b.Context(), os.Args[0])}
	c.cmd.Env = append(os.Environ(), crowdVar+"=1")
	c.cmd.Stderr = os.Stderr
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(b, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(b, err)
	c.out = bufio.NewReader(out)
	require.NoError(b, c.cmd.Start())
	return c
}

func (c *crowd) say(b *testing.B, format string, args ...any) {
	_, err := fmt.Fprintf(c.in, format+"\n", args...)
	require.NoError(b, err)
}

func (c *crowd) line(b *testing.B) string {
	text, err := c.out.ReadString('\n')
	require.NoError(b, err)
	return strings.TrimSpace(text)
}

// runCrowd runs a bus and reports its address, opens as many polls as it is told to, and keeps them until it is told to end.
func runCrowd(in io.Reader, out io.Writer) error {
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	nats.Start()
	if !nats.ReadyForConnections(time.Minute) {
		return fmt.Errorf("the bus does not start")
	}
	defer nats.Shutdown()
	if _, err := fmt.Fprintln(out, nats.ClientURL()); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Scan()
	var kind, address string
	var polls int
	if _, err := fmt.Sscan(lines.Text(), &kind, &address, &polls); err != nil {
		return err
	}
	conns, err := openPolls(kind, address, polls)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "sent"); err != nil {
		return err
	}
	lines.Scan()
	for _, c := range conns {
		_ = c.Close()
	}
	return nil
}

// openPolls opens polls, a thousand from each local address: one address has too few ports for all.
func openPolls(kind, address string, polls int) ([]net.Conn, error) {
	const each, atOnce, pace = 1000, 32, time.Millisecond
	conns := make([]net.Conn, polls)
	next := make(chan int)
	failed := make(chan error, atOnce)
	var openers sync.WaitGroup
	for range atOnce {
		openers.Go(func() {
			for i := range next {
				from := net.IPv4(127, 0, byte(1+i/each/250), byte(1+i/each%250))
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
				c, err := d.Dial("tcp", address)
				if err == nil {
					conns[i] = c
					_, err = io.WriteString(c, request(kind, address, i))
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	defer openers.Wait()
	defer close(next)
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for i := range polls {
		<-ticks.C
		select {
		case next <- i:
		case err := <-failed:
			return nil, err
		}
	}
	return conns, nil
}

// request is a poll, or a stream, as a browser sends it.
func request(kind, host string, user int) string {
	path := map[string]string{"poll": "poll?after=epoch.0&wait=60", "stream": "stream?after=epoch.0"}[kind]
	return fmt.Sprintf("GET /api/messages/"+path+" HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s.user%06d\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: application/json\r\n"+
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nOrigin: https://chat.example\r\n"+
		"Referer: https://chat.example/\r\nConnection: keep-alive\r\n\r\n", host, strings.Repeat("x", 500), user)
}
