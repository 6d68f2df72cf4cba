package cluster_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
)

// most is what a send may cost at the engines: its commands, and their bytes, for a text of 512 characters and keys wrapped with RSA of
// 2048 bits. A change that makes a send more expensive fails the test; one that makes it cheaper should lower these numbers.
var most = map[int]amounts{
	1: {
		"mongo insert inbox": {1, 850}, "mongo insert messages": {1, 979},
		"redis evalsha sealpost:seq": {1, 251}, "nats pub inbox.v1": {2, 1320},
	},
	20: {
		"mongo insert inbox": {1, 10407}, "mongo insert messages": {1, 1350},
		"redis evalsha sealpost:seq": {1, 1240}, "nats pub rooms.v1": {1, 8300},
	},
	1024: {
		"mongo insert inbox": {1, 515419}, "mongo insert messages": {1, 22378},
		"redis evalsha sealpost:seq": {5, 54067}, "nats pub rooms.v1": {2, 397923},
	},
}

// bytesMore is the factor by which bytes may exceed their bound: positions and times vary in length.
const bytesMore = 1.05

// background is what a node sends to an engine even without messages: connections are opened and watched, revocations read, and
// subscriptions come and go with polls.
var background = map[string]bool{
	"mongo hello": true, "mongo opcode 2004": true, "mongo endSessions": true,
	"redis hello": true, "redis client": true, "redis ping": true, "redis subscribe": true,
	"redis eval sealpost": true, "redis evalsha sealpost": true, "redis xread": true, // the log of revocations
	"nats connect": true, "nats ping": true, "nats pong": true, "nats sub": true, "nats unsub": true,
	"nats pub rooms.v1.here": true,
}

// expenses counts what one node of the messages service and one gateway send to the engines.
type expenses struct {
	*rig
	// of are the proxies by service and engine.
	of     map[string]map[string]*counter
	sender string
	// readers are the recipients' names; the first of them is logged in.
	readers []string
	first   string
	cursor  string
	sent    int
}

func newExpenses(t *testing.T, readers int) *expenses {
	t.Helper()
	e := &expenses{of: map[string]map[string]*counter{}}
	for _, service := range []string{cluster.Messages, cluster.Gateway} {
		e.of[service] = map[string]*counter{
			"mongo": newCounter(t, shared.Mongo.Addr(), mongoCommand),
			"redis": newCounter(t, shared.Redis.Addr(), redisCommand),
			"nats":  newCounter(t, shared.NATS.Addr(), natsCommand),
		}
	}
	e.rig = newRig(t, options{settings: func(service string, index int) []string {
		c := e.of[service]
		if c == nil || index != 1 {
			return nil
		}
		return []string{
			"MONGODB_URI=mongodb://" + c["mongo"].addr() + "/", "REDIS_URL=redis://" + c["redis"].addr() + "/0", "NATS_URL=nats://" + c["nats"].addr(),
			"RATE_LIMIT=on", "VERIFY_INTERVAL=1h", // a send includes its share of the limiter's work, but none of verification's
		}
	}})
	e.sender = e.user("Sender")
	for i := range readers {
		e.readers = append(e.readers, fmt.Sprintf("reader%04d", i))
		if token := e.user(e.readers[i]); i == 0 {
			e.first = token
		}
	}
	e.cursor = e.poll(e.gateway(), e.first, "after=latest&wait=0").Cursor
	return e
}

func (e *expenses) gateway() *cluster.Node { return e.Nodes[cluster.Gateway][0] }

// counts returns all commands so far except background ones.
func (e *expenses) counts() amounts {
	sum := amounts{}
	for _, proxies := range e.of {
		for engine, c := range proxies {
			for command, n := range c.counts() {
				if name := engine + " " + command; !background[name] {
					sum[name] = amount{sum[name].commands + n.commands, sum[name].bytes + n.bytes}
				}
			}
		}
	}
	return sum
}

// send sends a message, waits for all commands that follow from it, and returns them.
func (e *expenses) send(recipients int, held bool) amounts {
	e.t.Helper()
	var answered chan api.PollResponse
	if held {
		answered = e.hold()
	}
	request := api.SendRequest{EncryptedContent: strings.Repeat("c", 512), IV: "000102030405060708090a0b", RecipientKeys: map[string]string{}}
	for _, name := range e.readers[:recipients] {
		request.RecipientKeys[name] = strings.Repeat("k", 344)
	}
	var before amounts
	until(e.t, "a send is accepted", func() bool { // a very busy machine may need longer than a send may take
		e.sent++
		request.ClientMessageID = fmt.Sprintf("message-%08d", e.sent)
		before = e.counts()
		status := call(e.t, e.Nodes[cluster.Messages][0].URL(), http.MethodPost, "/api/messages/send", e.sender, request, nil)
		return status == http.StatusCreated
	})
	if held {
		p := <-answered
		require.Len(e.t, p.Messages, 1)
		e.cursor = p.Cursor
	}
	e.published()
	return e.counts().since(before)
}

// hold makes a poll of the first reader wait at the gateway.
func (e *expenses) hold() chan api.PollResponse {
	e.t.Helper()
	for { // read all that is there already
		p := e.poll(e.gateway(), e.first, "wait=0&after="+e.cursor)
		if e.cursor = p.Cursor; len(p.Messages) == 0 {
			break
		}
	}
	answered := make(chan api.PollResponse, 1)
	go func() { answered <- e.poll(e.gateway(), e.first, "wait=60&after="+e.cursor) }()
	until(e.t, "the poll waits", func() bool { return e.metric(e.gateway(), "sealpost_gateway_open_polls") == 1 })
	return answered
}

// published waits until the messages node's publications have gone out: they are buffered, and a send does not wait for them. The node
// pings NATS twice a second on the same connection; the first ping may have been under way before.
func (e *expenses) published() {
	e.t.Helper()
	c := e.of[cluster.Messages]["nats"]
	asked := c.counts()["ping"].commands
	until(e.t, "the node asks NATS twice", func() bool { return c.counts()["ping"].commands >= asked+2 })
}

// settle sends until positions come from the counters in Redis alone, as a new node does not trust them and reads the log; and until the
// node knows of the gateways.
func (e *expenses) settle() {
	e.t.Helper()
	for began := time.Now(); ; {
		cost := e.send(len(e.readers), false)
		if cost["mongo find inbox"].commands+cost["mongo aggregate inbox"].commands+cost["nats pub inbox.v1"].commands == 0 {
			return
		}
		require.Less(e.t, time.Since(began), patience, "the log is read all the time, or no rooms are published: %v", cost)
	}
}

// usual returns the median of each command over several sends: what happens only sometimes is in one of them at most.
func usual(list []amounts) amounts {
	names := map[string]bool{}
	for _, a := range list {
		for name := range a {
			names[name] = true
		}
	}
	middle := amounts{}
	for name := range names {
		var commands, bytes []int64
		for _, a := range list {
			commands, bytes = append(commands, a[name].commands), append(bytes, a[name].bytes)
		}
		slices.Sort(commands)
		slices.Sort(bytes)
		if m := len(list) / 2; commands[m] > 0 {
			middle[name] = amount{commands[m], bytes[m]}
		}
	}
	return middle
}

// TestASendCostsTheEnginesNoMoreThanItDid: MongoDB, Redis and NATS, with and without a recipient that waits.
func TestASendCostsTheEnginesNoMoreThanItDid(t *testing.T) {
	const sends = 3
	recipients := slices.Sorted(maps.Keys(most))
	e := newExpenses(t, slices.Max(recipients))
	e.settle()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(table, "recipients\tpolls held\t\tcommands\tat most\tbytes\tat most\n")
	for _, n := range recipients {
		for held := range 2 {
			var list []amounts
			for range sends {
				list = append(list, e.send(n, held == 1))
			}
			_, _ = fmt.Fprint(table, compare(t, fmt.Sprintf("%d\t%d", n, held), usual(list), most[n]))
		}
	}
	require.NoError(t, table.Flush())
	t.Log("\n" + text.String())
}

// compare formats rows of a send's cost and its bounds.
func compare(t *testing.T, what string, cost, bounds amounts) string {
	all := maps.Clone(cost)
	maps.Copy(all, bounds)
	var rows strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		is, bound := cost[name], bounds[name]
		limit := int64(float64(bound.bytes) * bytesMore)
		row := fmt.Sprintf("%s\t%s\t%d\t%d\t%d\t%d", what, name, is.commands, bound.commands, is.bytes, limit)
		switch {
		case is.commands > bound.commands, is.bytes > limit:
			t.Errorf("a send costs more than it did: %s", strings.ReplaceAll(row, "\t", " "))
		case is.commands < bound.commands, float64(is.bytes)*bytesMore < float64(bound.bytes):
			row += "\tcheaper: lower the bound"
		}
		rows.WriteString(row + "\n")
	}
	return rows.String()
}
