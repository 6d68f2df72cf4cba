package cluster_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/attacks"
	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
)

// attack is a misuse by several accounts, each from a network of its own: the hardest to tell from many honest users.
type attack struct {
	name string
	// accounts is how many take part, and atOnce how many connections each has.
	accounts, atOnce int
	// do gets the address of a node. Only what leaves answers unread needs it: between a load balancer and its nodes, kernels buffer megabytes.
	do func(ctx context.Context, a *attacks.Account, node string)
	// full is a bound of a service that must be in use while it goes on, so that the attack is one; empty for none.
	service, full string
}

// attackSettings are the bounds, small so that few attackers reach them. The memory limit is the smallest that the chart sets.
var attackSettings = []string{
	"GOMEMLIMIT=460MiB", "MAX_MESSAGE_BYTES=1MiB", "MAX_SENDING_BYTES=16MiB", "MAX_POLLS=60", "MAX_POLLS_PER_USER=16", "MAX_HISTORY_PAGES=16",
	"MAX_UNREAD=16MiB", "STORE_READS=8", "MAX_CONNECTIONS=60",
}

// perAddress is how many connections an address has at the load balancer.
const perAddress = 100

// attackList has the attacks with their numbers, scaled with the bounds. Everybody is who a broadcast goes to.
func attackList(everybody []string) []attack {
	return []attack{
		{
			name: "accounts withhold the ends of bodies", accounts: 8, atOnce: 4, service: cluster.Messages, full: "sends",
			do: func(ctx context.Context, a *attacks.Account, _ string) { a.WithholdsBodies(ctx, 900<<10) },
		},
		{
			name: "accounts hold all polls", accounts: 10, atOnce: 16, service: cluster.Gateway, full: "polls",
			do: func(ctx context.Context, a *attacks.Account, _ string) { a.Polls(ctx) },
		},
		{
			name: "readers leave pages of history unread", accounts: 20, atOnce: 2, service: cluster.Messages, full: "history",
			do: func(ctx context.Context, a *attacks.Account, node string) {
				a.LeavesUnread(ctx, node, "/api/messages/history?limit=200")
			},
		},
		{
			name: "readers leave answers unread", accounts: 8, atOnce: 1, service: cluster.Gateway, full: "answers",
			do: func(ctx context.Context, a *attacks.Account, node string) {
				a.LeavesUnread(ctx, node, "/api/messages/poll?after=0&limit=1000")
			},
		},
		{
			name: "accounts send to as many as they may", accounts: 2, atOnce: 1,
			do: func(ctx context.Context, a *attacks.Account, _ string) { a.Broadcasts(ctx, everybody) },
		},
		{
			name: "accounts use their ids again", accounts: 2, atOnce: 1,
			do: func(ctx context.Context, a *attacks.Account, _ string) { a.ReusesIDs(ctx, everybody) },
		},
		{
			name: "addresses hold connections", accounts: 10, atOnce: 20, service: cluster.Messages, full: "connections",
			do: func(ctx context.Context, a *attacks.Account, node string) { a.Holds(ctx, node) },
		},
		{
			name: "accounts name more recipients than there may be", accounts: 4, atOnce: 2,
			do: func(ctx context.Context, a *attacks.Account, _ string) { a.NamesTooMany(ctx, 900<<10) },
		},
	}
}

// fillInboxes sends all accounts more than their connections buffer.
func fillInboxes(t *testing.T, accounts []*attacks.Account) {
	t.Helper()
	names := make([]string, len(accounts))
	for i, a := range accounts {
		names[i] = a.Name
	}
	for range 24 {
		require.NoError(t, accounts[0].Send(t.Context(), 512<<10, names...))
	}
}

// honestAction is what an honest user does all the time.
type honestAction struct {
	name string
	do   func(ctx context.Context, a *attacks.Account) error
}

var honestActions = []honestAction{
	{"send", func(ctx context.Context, a *attacks.Account) error { return a.Send(ctx, 1<<10, a.Name) }},
	{"poll", func(ctx context.Context, a *attacks.Account) error {
		_, err := a.Do(ctx, http.MethodGet, "/api/messages/poll?after=latest&wait=1", "")
		return err
	}},
	{"history", func(ctx context.Context, a *attacks.Account) error {
		_, err := a.Do(ctx, http.MethodGet, "/api/messages/history?limit=50", "")
		return err
	}},
}

// pace is the least time between two actions of a kind.
const pace = 50 * time.Millisecond

// memoryBound is what the chart gives the smallest service, in bytes.
const memoryBound = 512 << 20

// TestAnHonestUserIsServedDuring each attack, nearly always: and the servers' memory stays within its limit.
func TestAnHonestUserIsServedDuring(t *testing.T) {
	r := newRig(t, options{perAddress: perAddress, settings: func(string, int) []string { return attackSettings }})
	url := r.Balancer.URL()
	honest, err := attacks.Register(t.Context(), url, "Honest", 200, 1)
	require.NoError(t, err)
	defer honest.Close()
	accounts := make([]*attacks.Account, 20)
	for i := range accounts {
		accounts[i], err = attacks.Register(t.Context(), url, fmt.Sprint("Eve", i), byte(1+i), 1)
		require.NoError(t, err)
		defer accounts[i].Close()
	}
	fillInboxes(t, accounts)
	everybody, err := honest.Crowd(t.Context(), "Member", api.MaxRecipients-1)
	require.NoError(t, err)
	everybody = append(everybody, honest.Name)
	for _, a := range attackList(everybody) {
		t.Run(a.name, func(t *testing.T) { r.attacked(t, a, honest, accounts[:a.accounts]) })
	}
	t.Run("an address has no more connections to the load balancer than it may", func(t *testing.T) { r.crowded(t, honest) })
}

// crowded opens more connections to the load balancer than an address may have.
func (r *rig) crowded(t *testing.T, honest *attacks.Account) {
	const more = 20
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 100, 1)}}
	ended := make(chan struct{}, perAddress+more)
	for range perAddress + more {
		conn, err := dialer.DialContext(t.Context(), "tcp", r.Balancer.Addr())
		if err != nil { // it was ended as it began
			ended <- struct{}{}
			continue
		}
		defer func() { _ = conn.Close() }()
		go func() {
			_, _ = conn.Read(make([]byte, 1))
			ended <- struct{}{}
		}()
	}
	for range more {
		select {
		case <-ended:
		case <-time.After(patience):
			require.Fail(t, "an address has more connections than it may")
		}
	}
	require.Empty(t, ended, "it keeps what it may have")
	for _, action := range honestActions {
		require.NoError(t, action.do(t.Context(), honest), action.name)
	}
}

// attacked runs one attack beside an honest user.
func (r *rig) attacked(t *testing.T, a attack, honest *attacks.Account, accounts []*attacks.Account) {
	nodes := r.Nodes[a.service]
	before := acts(t, honest, 20)
	ctx, stop := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	defer attackers.Wait()
	defer stop()
	for i, account := range accounts {
		node := ""
		if len(nodes) > 0 {
			node = nodes[i%len(nodes)].Addr
		}
		for range a.atOnce {
			attackers.Go(func() { a.do(ctx, account, node) })
		}
	}
	for _, n := range nodes {
		until(t, a.full+" are full", func() bool { return r.metric(n, "sealpost_admission_used_ratio", a.full) > 0.5 })
	}
	during := acts(t, honest, 100)
	for i, action := range honestActions {
		t.Logf("%s: median %s before, %s during; %d of %d refused", action.name, before[i].median(), during[i].median(), during[i].refused, len(during[i].took))
		require.LessOrEqual(t, during[i].refused, len(during[i].took)/100, "%s: %v", action.name, during[i].last)
	}
	for _, n := range nodes {
		t.Logf("%s: %.0f ended to make room", n.Name(), r.metric(n, "sealpost_admission_displaced_total", a.full))
	}
	for _, n := range r.All() {
		if n.Engine == nil { // the balancer
			continue
		}
		// Not the resident memory: that of the race detector is several times as much.
		memory := r.metric(n, "go_memstats_sys_bytes") - r.metric(n, "go_memstats_heap_released_bytes")
		t.Logf("%s: %d MiB", n.Name(), int(memory)>>20)
		require.Less(t, memory, float64(memoryBound), n.Name())
	}
}

// served is how one of the honest user's actions went.
type served struct {
	took    []time.Duration
	refused int
	last    error
}

func (s served) median() time.Duration {
	slices.Sort(s.took)
	return s.took[len(s.took)/2].Round(10 * time.Microsecond)
}

// acts does all actions at least so many times, side by side, until each is done: polls are answered by the sends.
func acts(t *testing.T, a *attacks.Account, times int) []served {
	t.Helper()
	all := make([]served, len(honestActions))
	var left atomic.Int32
	left.Store(int32(len(honestActions)))
	var going sync.WaitGroup
	for i, action := range honestActions {
		going.Go(func() {
			next := time.NewTicker(pace)
			defer next.Stop()
			for done := 0; left.Load() > 0; done++ {
				if done == times {
					left.Add(-1)
				}
				<-next.C
				began := time.Now()
				err := action.do(t.Context(), a)
				all[i].took = append(all[i].took, time.Since(began))
				if err != nil {
					all[i].refused++
					all[i].last = err
				}
			}
		})
	}
	going.Wait()
	return all
}
