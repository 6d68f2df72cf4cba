package redishints_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/bus/redishints"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/redisclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience limits the wait for a condition.
const patience = 20 * time.Second

// gateway is a Receiver with its listener.
type gateway struct {
	mu          sync.Mutex
	looks       [][]string
	disruptions int
	log         bytes.Buffer
	registry    *prometheus.Registry
}

func (*gateway) Receive(string, []byte, []string) {}

func (*gateway) ReceiveRoom([]byte, []string) int { return 0 }

func (g *gateway) Disrupted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.disruptions++
}

func (g *gateway) Hinted(users []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks = append(g.looks, users)
}

func (g *gateway) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.Write(p)
}

func (g *gateway) disrupted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disruptions
}

func (g *gateway) seen() [][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.looks)
}

func (g *gateway) said(what string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Count(g.log.String(), what)
}

func (g *gateway) listening(t *testing.T) bool {
	t.Helper()
	families, err := g.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "sealpost_hints_listening" {
			return f.GetMetric()[0].GetGauge().GetValue() == 1
		}
	}
	return false
}

// listen starts a listener, without waiting until it receives hints.
func listen(t *testing.T, client redis.UniversalClient) *gateway {
	t.Helper()
	g := &gateway{registry: prometheus.NewRegistry()}
	l := redishints.NewListener(client, g, slog.New(slog.NewTextHandler(g, nil)), g.registry)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	t.Cleanup(func() {
		began := time.Now()
		cancel()
		<-done
		require.Less(t, time.Since(began), patience/2, "it ends when it is told to")
	})
	return g
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
}

// open makes a client as the services do.
func open(t *testing.T, url string) *redisclient.Client {
	t.Helper()
	client, err := redisclient.Open(redisclient.Config{URL: config.Secret(url), Mode: redisclient.Single}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func TestHintsReachEveryListener(t *testing.T) {
	client := open(t, enginetest.URL(t, enginetest.Redis))
	one, two := listen(t, client), listen(t, client)
	hinter := redishints.NewHinter(client)
	for _, g := range []*gateway{one, two} {
		until(t, "it hears", func() bool { return g.listening(t) && g.disrupted() == 1 })
	}
	require.NoError(t, hinter.Hint(t.Context(), []string{"bob", "carol"}))
	require.NoError(t, hinter.Hint(t.Context(), nil))
	require.NoError(t, hinter.Hint(t.Context(), []string{"dave"}))
	for _, g := range []*gateway{one, two} {
		until(t, "all are heard", func() bool { return len(g.seen()) == 3 })
		require.Equal(t, [][]string{{"bob", "carol"}, nil, {"dave"}}, g.seen())
		require.NoError(t, testutil.GatherAndCompare(g.registry, strings.NewReader(`
# HELP sealpost_hints_received_total Hints received over Redis, by whom they are about (users, everybody).
# TYPE sealpost_hints_received_total counter
sealpost_hints_received_total{about="everybody"} 1
sealpost_hints_received_total{about="users"} 2
`), "sealpost_hints_received_total"))
	}
}

// TestAListenerThatHearsNothingForAWhileGoesOnListening: no hints is the normal case.
func TestAListenerThatHearsNothingForAWhileGoesOnListening(t *testing.T) {
	client := open(t, enginetest.URL(t, enginetest.Redis))
	g := listen(t, client)
	until(t, "it hears", func() bool { return g.disrupted() == 1 })
	require.Never(t, func() bool { return g.disrupted() > 1 || !g.listening(t) }, 4*time.Second, 10*time.Millisecond)
	require.NoError(t, redishints.NewHinter(client).Hint(t.Context(), []string{"bob"}))
	until(t, "it is heard", func() bool { return len(g.seen()) == 1 })
}

// TestAListenerThatLostItsConnectionMayHaveMissedHints: it then reports a disruption.
func TestAListenerThatLostItsConnectionMayHaveMissedHints(t *testing.T) {
	url := enginetest.URL(t, enginetest.Redis)
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	for what, lose := range map[string]func(*enginetest.Line){
		"the connection is closed": (*enginetest.Line).Cut,
		"the connection is silent": func(l *enginetest.Line) { l.Stall(true) },
	} {
		t.Run(what, func(t *testing.T) {
			l := enginetest.NewLine(t, o.Addr)
			g := listen(t, open(t, "redis://"+l.Addr()+"/0"))
			until(t, "it hears", func() bool { return g.disrupted() == 1 })
			lose(l)
			until(t, "it notices", func() bool { return g.said("hints do not arrive") == 1 })
			l.Stall(false)
			until(t, "it hears again", func() bool { return g.disrupted() == 2 && g.listening(t) })
			require.NoError(t, redishints.NewHinter(open(t, url)).Hint(t.Context(), []string{"bob"}))
			until(t, "it is heard", func() bool { return slices.ContainsFunc(g.seen(), func(u []string) bool { return len(u) == 1 }) })
		})
	}
}

// TestAUserWithoutPermissionForTheChannelIsTold in the log, once, and receives hints once permitted.
func TestAUserWithoutPermissionForTheChannelIsTold(t *testing.T) {
	url := enginetest.URL(t, enginetest.Redis)
	admin := open(t, url)
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	const user = "sealpost-hints-test"
	acl := func(rules ...any) {
		require.NoError(t, admin.Do(t.Context(), append([]any{"ACL", "SETUSER", user}, rules...)...).Err())
	}
	// The ACL in deploy/README.md, without the channel.
	acl("on", ">secret", "~sealpost:*", "~rate:sealpost:*", "resetchannels", "+@all", "-@dangerous", "+info")
	t.Cleanup(func() { _ = admin.Do(context.WithoutCancel(t.Context()), "ACL", "DELUSER", user).Err() })
	client := open(t, "redis://"+user+":secret@"+o.Addr+"/0")
	g := listen(t, client)
	until(t, "it says so", func() bool { return g.said("NOPERM") == 1 })
	require.ErrorContains(t, redishints.NewHinter(client).Hint(t.Context(), []string{"bob"}), "NOPERM")
	require.Never(t, func() bool { return g.said("hints do not arrive") > 1 || g.listening(t) }, 2*time.Second, 10*time.Millisecond)
	acl("&" + redishints.Channel)
	until(t, "it hears", func() bool { return g.listening(t) && g.disrupted() == 1 })
	require.NoError(t, redishints.NewHinter(client).Hint(t.Context(), []string{"bob"}))
	until(t, "it is heard", func() bool { return len(g.seen()) == 1 })
}
