package cluster_test

import (
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
)

// TestAMessagesNodeIsCutOffFromNATSAlone: the gateways stay connected, so only hints make them read the store.
func TestAMessagesNodeIsCutOffFromNATSAlone(t *testing.T) {
	r, lone := newRigWithLone(t, cluster.Messages)
	victim := r.Nodes[cluster.Messages][0]
	r.cutOff(victim, lone, victim, r.Nodes[cluster.Gateway][1], func(t *testing.T, heal func()) {
		c := r.crowdOf(20)
		c.Start()
		r.forAWhile(c)
		heal()
		moreSends(t, c, 50)
		report := r.judge(c)
		notRefused(t, report.SendErrors, report.Attempts)
		assert.Less(t, report.WorstDelay, soon)
	})
}

// TestAGatewayIsCutOffFromNATSAlone: it notices the disconnect itself, and reads the store.
func TestAGatewayIsCutOffFromNATSAlone(t *testing.T) {
	r, lone := newRigWithLone(t, cluster.Gateway)
	victim := r.Nodes[cluster.Gateway][0]
	r.cutOff(victim, lone, r.Nodes[cluster.Messages][1], victim, func(_ *testing.T, heal func()) { heal() })
}

// newRigWithLone makes a rig whose first node of a service has its own proxy before NATS.
func newRigWithLone(t *testing.T, service string) (*rig, *toxiproxy.Proxy) {
	t.Helper()
	lone := newProxy(t, "lone", shared.NATS.Addr())
	r := newRig(t, options{settings: func(s string, index int) []string {
		if s == service && index == 1 {
			return []string{"NATS_URL=nats://" + lone.Listen}
		}
		return nil
	}})
	r.proxies["lone"] = lone
	return r, lone
}

// cutOff cuts a node off from NATS in two ways: its connection stays open but carries nothing, or is closed. It measures the delay of a
// message sent through one node to a poll that waits at another. then heals the connection, sooner or later.
func (r *rig) cutOff(victim *cluster.Node, lone *toxiproxy.Proxy, sender, gateway *cluster.Node, then func(t *testing.T, heal func())) {
	connected := func() bool { return r.metric(victim, "sealpost_bus_connected") == 1 }
	bob := r.user("Bob")
	delay := func(t *testing.T, content string) time.Duration {
		cursor := r.poll(gateway, bob, "after=latest&wait=0").Cursor
		answered := make(chan api.PollResponse, 1)
		go func() { answered <- r.poll(gateway, bob, "wait=60&after="+cursor) }()
		until(t, "the poll waits", func() bool { return r.metric(gateway, "sealpost_gateway_open_polls") == 1 })
		began := time.Now()
		r.send(sender, bob, content, "Bob")
		p := <-answered
		took := time.Since(began).Round(time.Millisecond)
		require.Len(t, p.Messages, 1, "the poll ended without it after %s", took)
		require.Equal(t, content, p.Messages[0].EncryptedContent)
		t.Logf("%s: %s", content, took)
		return took
	}
	delay(r.t, "with NATS")
	r.poll(gateway, bob, "after=latest&wait=3") // the first verification always comes a second after the first poll
	for _, cut := range []struct {
		how     string
		off, on func()
		// from is the condition for sending the message.
		from func() bool
	}{
		{
			"silently",
			func() {
				r.toxic("lone", `{"name":"lose-up","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`)
				r.toxic("lone", `{"name":"lose-down","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
			},
			func() {
				require.NoError(r.t, lone.Toxics.RemoveToxic(r.t.Context(), "lose-up"))
				require.NoError(r.t, lone.Toxics.RemoveToxic(r.t.Context(), "lose-down"))
			},
			connected, // at once: the node has not noticed yet
		},
		{"openly", lone.Stop, func() { require.NoError(r.t, lone.Start()) }, func() bool { return !connected() }},
	} {
		r.t.Run(cut.how, func(t *testing.T) {
			cut.off()
			until(t, "it is time", cut.from)
			assert.Less(t, delay(t, "cut off"), soon)
			until(t, "the node knows", func() bool { return !connected() })
			assert.Less(t, delay(t, "later"), soon)
			then(t, func() {
				cut.on()
				until(t, "connected again", connected)
			})
		})
	}
}

func TestConnectionsToNATSAreCutAndEventsLost(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	for range 10 {
		moreSends(t, c, 25)
		r.sever("nats")
	}
	// Each connection takes some more events, and then loses what is under way.
	r.toxic("nats", `{"name":"lose","type":"limit_data","stream":"downstream","attributes":{"bytes":20000}}`)
	moreSends(t, c, 200)
	require.NoError(t, r.proxies["nats"].Toxics.RemoveToxic(t.Context(), "lose"))
	moreSends(t, c, 50)
	report := r.judge(c)
	notRefused(t, report.SendErrors, report.Attempts)
}
