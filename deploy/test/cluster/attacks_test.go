package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/attacks"
	"github.com/sealpost/sealpost/deploy/test/cluster"
)

// attack is a misuse by several accounts, each from a network of its own: the hardest to tell from many honest users.
type attack struct {
	settings []string
	accounts int
	// atOnce is how many connections an account has.
	atOnce int
	// prepare comes before.
	prepare func(t *testing.T, accounts []*attacks.Account)
	do      func(ctx context.Context, a *attacks.Account)
	// full is a bound of a service that must be in use while it goes on, so that the attack is one.
	service, full string
}

// attackList has the attacks with their numbers, scaled with the bounds.
var attackList = map[string]attack{
	"eight accounts withhold the ends of bodies": {
		settings: []string{"MAX_MESSAGE_BYTES=1MiB", "MAX_SENDING_BYTES=16MiB"}, accounts: 8, atOnce: 20, service: cluster.Messages, full: "sends",
		do: func(ctx context.Context, a *attacks.Account) { a.WithholdsBodies(ctx, 900<<10) },
	},
	"accounts hold all polls": {
		settings: []string{"MAX_POLLS=60", "MAX_POLLS_PER_USER=16"}, accounts: 10, atOnce: 16, service: cluster.Gateway, full: "polls",
		do: func(ctx context.Context, a *attacks.Account) { a.Polls(ctx) },
	},
	"readers leave pages of history unread": {
		settings: []string{"MAX_HISTORY_PAGES=16"}, accounts: 40, atOnce: 2, service: cluster.Messages, full: "history", prepare: fillInboxes,
		do: func(ctx context.Context, a *attacks.Account) { a.LeavesUnread(ctx, "/api/messages/history?limit=200") },
	},
	"readers leave answers unread": {
		settings: []string{"MAX_UNREAD=16MiB"}, accounts: 16, atOnce: 4, service: cluster.Gateway, full: "answers", prepare: fillInboxes,
		do: func(ctx context.Context, a *attacks.Account) {
			a.LeavesUnread(ctx, "/api/messages/poll?after=0&limit=1000")
		},
	},
}

// fillInboxes sends all accounts more than their connections buffer.
func fillInboxes(t *testing.T, accounts []*attacks.Account) {
	t.Helper()
	for range 24 {
		require.NoError(t, accounts[0].Send(t.Context(), 512<<10, accounts...))
	}
}

// honestAction is what an honest user does all the time.
type honestAction struct {
	name string
	do   func(ctx context.Context, a *attacks.Account) error
}

var honestActions = []honestAction{
	{"send", func(ctx context.Context, a *attacks.Account) error { return a.Send(ctx, 1<<10, a) }},
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

// memoryBound is below what the chart and Compose give the smallest service.
const memoryBound = 512 << 20

// TestAnHonestUserIsServedDuring each attack, nearly always: and the server's memory stays within its limit.
func TestAnHonestUserIsServedDuring(t *testing.T) {
	for name, a := range attackList {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{settings: func(string, int) []string { return a.settings }})
			url, nodes := r.Balancer.URL(), r.Nodes[a.service]
			honest, err := attacks.Register(t.Context(), url, "Honest", 200, 1)
			require.NoError(t, err)
			defer honest.Close()
			accounts := make([]*attacks.Account, a.accounts)
			for i := range accounts {
				accounts[i], err = attacks.Register(t.Context(), url, fmt.Sprint("Eve", i), byte(1+i), 1)
				require.NoError(t, err)
				defer accounts[i].Close()
			}
			if a.prepare != nil {
				a.prepare(t, accounts)
			}
			before := acts(t, honest, 20)
			ctx, stop := context.WithCancel(t.Context())
			var attackers sync.WaitGroup
			defer attackers.Wait()
			defer stop()
			for _, account := range accounts {
				for range a.atOnce {
					attackers.Go(func() { a.do(ctx, account) })
				}
			}
			for _, n := range nodes {
				require.Eventually(t, func() bool { return r.metric(n, "sealpost_admission_used_ratio", a.full) > 0.7 }, patience, 10*time.Millisecond)
			}
			during := acts(t, honest, 100)
			for i, action := range honestActions {
				t.Logf("%s: median %s before, %s during; %d of %d refused", action.name, before[i].median(), during[i].median(), during[i].refused, len(during[i].took))
				require.LessOrEqual(t, during[i].refused, len(during[i].took)/100, "%s: %v", action.name, during[i].last)
			}
			for _, n := range nodes {
				memory := r.metric(n, "process_resident_memory_bytes")
				t.Logf("%s: %d MiB, %.0f ended to make room", n.Name(), int(memory)>>20, r.metric(n, "sealpost_admission_displaced_total", a.full))
				require.Less(t, memory, float64(memoryBound), n.Name())
			}
		})
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

// acts does all actions so many times, side by side.
func acts(t *testing.T, a *attacks.Account, times int) []served {
	t.Helper()
	all := make([]served, len(honestActions))
	var going sync.WaitGroup
	for i, action := range honestActions {
		going.Go(func() {
			next := time.NewTicker(pace)
			defer next.Stop()
			for range times {
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
