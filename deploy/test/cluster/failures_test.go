package cluster_test

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck/crowd"
	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/inbox"
)

// Each test here is a row of the design's table of failures: real processes and engines are killed, stopped, cut and emptied while a crowd
// sends and reads, and historycheck judges what the crowd saw.

// outage is how long an engine stays away.
const outage = 10 * time.Second

// notRefused allows few refused requests: on a busy machine some may time out, which a 503 tells, but no connection may break, and no other
// error may be answered.
func notRefused(t *testing.T, errors map[int]int, requests int) {
	t.Helper()
	for status, n := range errors {
		require.Equal(t, http.StatusServiceUnavailable, status, "%d times", n)
		require.Less(t, n, 1+requests/20, "of %d requests were refused", requests)
	}
}

// killAt makes a messages node die at a step of a send, and restarts it.
func (r *rig) killAt(c *crowd.Crowd, n *cluster.Node, step inbox.Step) {
	r.t.Helper()
	ended := n.Ended()
	require.NoError(r.t, os.WriteFile(r.failpoints[n.Index-1], []byte(step), 0o600))
	select {
	case <-ended:
	case <-time.After(patience):
		r.t.Fatalf("%s did not come to step %s", n.Name(), step)
	}
	moreSends(r.t, c, 10)
	require.NoError(r.t, n.Restart(r.t.Context()))
	moreSends(r.t, c, 10)
}

func TestAMessagesNodeIsKilledAtEachStepOfASend(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 20)
	for range 2 {
		for _, step := range []inbox.Step{inbox.StepPositions, inbox.StepEntries, inbox.StepCommit} {
			for _, n := range r.Nodes[cluster.Messages] {
				r.killAt(c, n, step)
			}
		}
	}
	r.judge(c)
}

func TestMessagesNodesAreKilledWhileTheirClocksAreAMinuteOff(t *testing.T) {
	r := newRig(t, options{settings: func(_ string, index int) []string {
		return []string{skewVariable + "=" + []string{"1m", "-1m"}[index-1]}
	}})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 20)
	for _, step := range []inbox.Step{inbox.StepPositions, inbox.StepEntries, inbox.StepCommit} {
		for _, n := range r.Nodes[cluster.Messages] {
			r.killAt(c, n, step)
		}
	}
	r.judge(c)
}

func TestAGatewayIsKilledWithAThousandParkedPolls(t *testing.T) {
	const polls = 1000
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 20)
	victim := r.Nodes[cluster.Gateway][0]
	tokens := make([]string, 20)
	for i := range tokens {
		tokens[i] = r.user(fmt.Sprint("Parked", i))
	}
	var got atomic.Int64
	var parked sync.WaitGroup
	for i := range polls {
		parked.Go(func() {
			if r.pollUntilMessage(victim.URL(), tokens[i%len(tokens)]) {
				got.Add(1)
			}
		})
	}
	until(t, "a thousand polls are parked", func() bool { return r.metric(victim, "sealpost_gateway_open_polls") >= polls })
	require.NoError(t, victim.Kill())
	moreSends(t, c, 20)
	names := make([]string, len(tokens))
	for i := range names {
		names[i] = fmt.Sprint("Parked", i)
	}
	r.send(r.Nodes[cluster.Messages][0], tokens[0], "for all of them", names...)
	parked.Wait()
	require.EqualValues(t, polls, got.Load(), "polls that found the message elsewhere")
	require.NoError(t, victim.Restart(t.Context()))
	moreSends(t, c, 20)
	r.judge(c)
}

// pollUntilMessage polls at one address, and after a failure through the load balancer, until a message comes.
func (r *rig) pollUntilMessage(url, token string) bool {
	after := "0"
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var p api.PollResponse
		if call(r.t, url, http.MethodGet, "/api/messages/poll?wait=60&after="+after, token, nil, &p) != http.StatusOK {
			url = r.Balancer.URL()
			continue
		}
		if len(p.Messages) > 0 {
			return p.Messages[0].EncryptedContent == "for all of them"
		}
		after = p.Cursor
	}
	return false
}

func TestNATSIsStoppedAndStartedAgain(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 50)
	require.NoError(t, shared.NATS.Stop(t.Context()))
	r.forAWhile(c)
	require.NoError(t, shared.NATS.Start(t.Context()))
	moreSends(t, c, 100)
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
}

// forAWhile lets the crowd go on for the length of an outage.
func (r *rig) forAWhile(c *crowd.Crowd) {
	r.t.Helper()
	over := time.After(outage)
	moreSends(r.t, c, 20)
	<-over
}

// soon is much more than the 2 s of the design, for a busy machine, and much less than the up to 72 s until a gateway that has missed
// nothing verifies an inbox.
const soon = 15 * time.Second

func TestRedisIsStopped(t *testing.T) {
	r := newRig(t, options{})
	loggedOut, stays := r.user("Gone"), r.user("Stays")
	require.Equal(t, http.StatusOK, call(t, r.Balancer.URL(), http.MethodPost, "/api/auth/logout", loggedOut, nil, nil))
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 50)
	require.NoError(t, shared.Redis.Stop(t.Context()))
	r.forAWhile(c)
	for _, n := range r.All() {
		require.Equal(t, http.StatusUnauthorized, r.knows(n, loggedOut), "%s: a token that was known to be revoked", n.Name())
	}
	a := ask(t, r.Balancer.URL(), http.MethodPost, "/api/auth/logout", stays, nil)
	require.Equal(t, http.StatusServiceUnavailable, a.status, "never a lie")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.NoError(t, shared.Redis.Start(t.Context()))
	until(t, "logout works again", func() bool {
		return call(t, r.Balancer.URL(), http.MethodPost, "/api/auth/logout", stays, nil, nil) == http.StatusOK
	})
	moreSends(t, c, 50)
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
}

func TestRedisIsEmptiedUnderLoad(t *testing.T) {
	r := newRig(t, options{})
	loggedOut := r.user("Gone")
	require.Equal(t, http.StatusOK, call(t, r.Balancer.URL(), http.MethodPost, "/api/auth/logout", loggedOut, nil, nil))
	c := r.crowdOf(20)
	c.Start()
	for range 8 {
		moreSends(t, c, 25)
		require.NoError(t, shared.Redis.Flush(t.Context()))
	}
	r.staysRefused(loggedOut)
	moreSends(t, c, 25)
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
}

// staysRefused requires that every node refuses a token, and that a node started now does too: those that knew the token have restored what
// the log lost.
func (r *rig) staysRefused(token string) {
	r.t.Helper()
	for _, n := range r.All() {
		require.Equal(r.t, http.StatusUnauthorized, r.knows(n, token), n.Name())
	}
	newcomer := r.Nodes[cluster.Keys][0]
	until(r.t, "a node that is started anew refuses the token", func() bool {
		require.NoError(r.t, newcomer.Restart(r.t.Context()))
		return r.knows(newcomer, token) == http.StatusUnauthorized
	})
}

func TestRedisGoesBackToAnOlderCopy(t *testing.T) {
	r := newRig(t, options{})
	loggedOut := r.user("Gone")
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 50)
	copied, err := shared.Redis.Backup()
	require.NoError(t, err)
	moreSends(t, c, 100)
	require.Equal(t, http.StatusOK, call(t, r.Balancer.URL(), http.MethodPost, "/api/auth/logout", loggedOut, nil, nil))
	until(t, "all nodes know of the logout", func() bool {
		for _, n := range r.All() {
			if r.knows(n, loggedOut) != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
	for range 2 {
		moreSends(t, c, 50)
		require.NoError(t, shared.Redis.Restore(t.Context(), copied))
	}
	r.staysRefused(loggedOut)
	moreSends(t, c, 50)
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
}

func TestTheDatabaseIsStoppedAndKilled(t *testing.T) {
	r := newRig(t, options{})
	bob := r.user("Bob")
	c := r.crowdOf(20)
	c.Start()
	for _, end := range []func() error{
		func() error { return shared.Mongo.Stop(t.Context()) },
		shared.Mongo.Kill,
	} {
		moreSends(t, c, 50)
		require.NoError(t, end())
		over := time.After(outage)
		a := ask(t, r.Balancer.URL(), http.MethodPost, "/api/messages/send", bob,
			api.SendRequest{EncryptedContent: "x", IV: "00", RecipientKeys: map[string]string{"Bob": "key"}})
		require.Equal(t, http.StatusServiceUnavailable, a.status, "%s", a.body)
		require.NotEmpty(t, a.header.Get("Retry-After"))
		<-over
		require.NoError(t, shared.Mongo.Start(t.Context()))
	}
	moreSends(t, c, 50)
	r.judge(c)
}

func TestConnectionsAreCutAndSlowed(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 20)
	for _, engine := range []string{"mongo", "redis", "nats"} {
		r.toxic(engine, `{"name":"slow","type":"latency","stream":"downstream","attributes":{"latency":40,"jitter":40}}`)
	}
	moreSends(t, c, 60)
	for range 5 {
		moreSends(t, c, 10)
		r.sever("mongo")
		moreSends(t, c, 10)
		r.sever("redis")
	}
	for _, engine := range []string{"mongo", "redis", "nats"} {
		require.NoError(t, r.proxies[engine].Toxics.RemoveToxic(t.Context(), "slow"))
	}
	// Answers of the engines break off in the middle.
	r.toxic("mongo", `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":60000}}`)
	r.toxic("redis", `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":4000}}`)
	moreSends(t, c, 100)
	for _, engine := range []string{"mongo", "redis"} {
		require.NoError(t, r.proxies[engine].Toxics.RemoveToxic(t.Context(), "cut"))
	}
	moreSends(t, c, 20)
	r.judge(c)
}

func TestARollingRestartOfEverything(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20, func(o *crowd.Options) { o.Cut = "" }) // or the proxy would make some polls fail
	c.Start()
	moreSends(t, c, 20)
	for _, n := range r.All() {
		require.NoError(t, n.Stop(t.Context()))
		require.NoError(t, n.Start(t.Context()))
		moreSends(t, c, 10)
	}
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
	notRefused(t, report.PollErrors, report.Answers)
}
