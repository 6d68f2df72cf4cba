package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/attacks"
	"github.com/sealpost/sealpost/deploy/test/cluster"
)

// TestAnHonestUserLogsInDuringAFlood of wrong passwords and registrations from 120 networks, and new users register. The attackers ask for several
// times what the nodes can hash; more would fill the machine with requests, which the load balancer bears as little.
func TestAnHonestUserLogsInDuringAFlood(t *testing.T) {
	const attackers, between, logins, registrations = 120, time.Second, 100, 5
	r := newRig(t, options{settings: func(string, int) []string {
		return []string{"ARGON2_MEMORY=4MiB", "ARGON2_TIME=3", "ARGON2_WORKERS=1", "ARGON2_QUEUE=16"}
	}})
	url, nodes := r.Balancer.URL(), r.Nodes[cluster.Auth]
	honest, err := attacks.Register(t.Context(), url, "Honest", 200, 1)
	require.NoError(t, err)
	defer honest.Close()
	before := logsIn(t, honest, logins/5)

	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for i := range attackers {
		a := attacks.Stranger(url, fmt.Sprint("eve", i), byte(1+i), 1)
		all.Go(func() {
			defer a.Close()
			a.FloodsPasswords(ctx, honest.Name, between)
		})
	}
	for _, n := range nodes {
		for _, lane := range []string{"logins", "registrations"} {
			require.Eventually(t, func() bool { return r.metric(n, "sealpost_auth_password_queue_refused_total", lane, "at_capacity") > 0 }, patience, 10*time.Millisecond)
		}
	}
	var newcomers sync.WaitGroup
	registered := make([]time.Duration, registrations)
	for i := range registrations {
		newcomers.Go(func() {
			began := time.Now()
			assert.Eventually(t, func() bool {
				a, err := attacks.Register(ctx, url, fmt.Sprint("New", i), byte(210+i), 1)
				if err == nil {
					a.Close()
				}
				return err == nil
			}, patience, 2*time.Second)
			registered[i] = time.Since(began)
		})
	}
	during := logsIn(t, honest, logins)
	newcomers.Wait()
	t.Logf("logins: median %s before, %s during; %d of %d refused", before.median(), during.median(), during.refused, len(during.took))
	newcomersServed := served{took: registered}
	t.Logf("registrations: median %s", newcomersServed.median())
	require.LessOrEqual(t, during.refused, logins/100, "%v", during.last)
	for _, n := range nodes {
		t.Logf("%s: %.0f refused", n.Name(), r.metric(n, "sealpost_auth_password_queue_refused_total", "at_capacity"))
		require.Zero(t, r.metric(n, "sealpost_auth_password_queue_refused_total", "known", "at_capacity"), n.Name())
	}
}

// logsIn logs in so many times, one after the other.
func logsIn(t *testing.T, a *attacks.Account, times int) (s served) {
	t.Helper()
	next := time.NewTicker(pace)
	defer next.Stop()
	for range times {
		<-next.C
		began := time.Now()
		err := a.LogsIn(t.Context())
		s.took = append(s.took, time.Since(began))
		if err != nil {
			s.refused++
			s.last = err
		}
	}
	return s
}
