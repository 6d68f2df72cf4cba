package cluster_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
)

func TestACrowdIsServedWhileNothingFails(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 400)
	report := r.judge(c)
	require.Empty(t, report.SendErrors)
	require.Zero(t, report.Repeated, "each message is given to a session once")
}

// TestAPollAtAnyGatewayIsCompletedByASendThroughAnyNode: the event carries the message, so nobody reads the store.
func TestAPollAtAnyGatewayIsCompletedByASendThroughAnyNode(t *testing.T) {
	r := newRig(t, options{nodes: 3})
	bob := r.user("Bob")
	cursor := r.poll(r.Nodes[cluster.Gateway][0], bob, "after=latest&wait=0").Cursor
	for _, gateway := range r.Nodes[cluster.Gateway] {
		for _, sender := range r.Nodes[cluster.Messages] {
			t.Run(gateway.Name()+" "+sender.Name(), func(t *testing.T) {
				answered := make(chan api.PollResponse, 1)
				// The first poll loads the user's mailbox from the store; the second one is parked.
				r.poll(gateway, bob, "wait=0&after="+cursor)
				go func() { answered <- r.poll(gateway, bob, "wait=60&after="+cursor) }()
				until(t, "parked", func() bool { return r.metric(gateway, "sealpost_gateway_open_polls") == 1 })
				events := r.metric(gateway, "sealpost_gateway_completions_total", `source="event"`)
				content := gateway.Name() + sender.Name()
				r.send(sender, bob, content, "Bob")
				p := <-answered
				require.Equal(t, content, p.Messages[0].EncryptedContent)
				// Not by a read. (On a slow machine the gateway's verification, a second after it subscribed, may happen meanwhile.)
				require.Equal(t, events+1, r.metric(gateway, "sealpost_gateway_completions_total", `source="event"`))
				cursor = p.Cursor
			})
		}
	}
	status := r.get(r.Nodes[cluster.Messages][0], bob, "/api/messages/status")
	for _, n := range r.All() {
		require.Contains(t, status, fmt.Sprintf(`"service":%q`, n.Service))
	}
	require.Equal(t, len(r.All()), strings.Count(status, `"service":`), "every node answers who is there")
}

// TestALogoutIsRefusedByEveryNodeOfEveryService: the nodes are busy with a crowd, and go on refusing without Redis.
func TestALogoutIsRefusedByEveryNodeOfEveryService(t *testing.T) {
	const polls = 25 // of one user at each gateway, more than the crowd can have open
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 40)
	for _, path := range []string{"/api/auth/logout", "/api/auth/logout-all"} {
		bob := r.user("Bob" + path[len("/api/auth/"):len("/api/auth/logout")] + fmt.Sprint(len(path)))
		parked := make(chan int, 2*polls)
		for _, n := range r.Nodes[cluster.Gateway] {
			for range polls {
				go func() {
					parked <- call(r.t, n.URL(), http.MethodGet, "/api/messages/poll?wait=60&after=latest", bob, nil, nil)
				}()
			}
			until(t, "more polls are open than the crowd's", func() bool { return r.metric(n, "sealpost_gateway_open_polls") >= polls })
		}
		began := time.Now()
		require.Equal(t, http.StatusOK, call(t, r.Nodes[cluster.Auth][0].URL(), http.MethodPost, path, bob, nil, nil))
		for _, n := range r.All() {
			until(t, n.Name()+" refuses", func() bool { return r.knows(n, bob) == http.StatusUnauthorized })
		}
		all := time.Since(began)
		for range cap(parked) {
			require.Equal(t, http.StatusUnauthorized, <-parked)
		}
		for _, n := range r.Nodes[cluster.Gateway] {
			require.Positive(t, r.metric(n, "sealpost_gateway_answers_total", `type="revoked"`), "parked polls of %s that were ended", n.Name())
		}
		t.Logf("%s: refused by all %d nodes after %s, the last of %d parked polls answered after %s",
			path, len(r.All()), all.Round(time.Millisecond), cap(parked), time.Since(began).Round(time.Millisecond))

		require.NoError(t, shared.Redis.Stop(t.Context()))
		for _, n := range r.All() {
			require.Equal(t, http.StatusUnauthorized, r.knows(n, bob), "%s, with Redis gone", n.Name())
		}
		require.NoError(t, shared.Redis.Start(t.Context()))
	}
	r.judge(c)
}

// paths say what to request from each service to learn whether it accepts a token.
var paths = map[string]string{
	cluster.Auth: "/api/auth/profile", cluster.Keys: "/api/keys/users?limit=1",
	cluster.Messages: "/api/messages/history?limit=1", cluster.Gateway: "/api/messages/poll?wait=0&after=latest",
}

// knows requests something from a node with a token and returns the status.
func (r *rig) knows(n *cluster.Node, token string) int {
	return call(r.t, n.URL(), http.MethodGet, paths[n.Service], token, nil, nil)
}

// TestSixteenNodesStartAtOnceOnEmptyEngines: all become ready, with one set of indexes, one epoch and one server key.
func TestSixteenNodesStartAtOnceOnEmptyEngines(t *testing.T) {
	r := newRig(t, options{nodes: 4})
	keys := map[string]bool{}
	for _, n := range r.Nodes[cluster.Keys] {
		keys[r.get(n, "", "/api/keys/server-public")] = true
	}
	require.Len(t, keys, 1)
	bob := r.user("Bob")
	epochs := map[string]bool{}
	for _, n := range r.Nodes[cluster.Gateway] {
		epoch, _, _ := strings.Cut(r.poll(n, bob, "wait=0&after=0").Cursor, ".")
		epochs[epoch] = true
	}
	require.Len(t, epochs, 1)

	client, err := driver.Connect(mongooptions.Client().ApplyURI(shared.Mongo.URL()))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Disconnect(t.Context())) }()
	db := client.Database(r.database)
	names, err := db.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"users", "keys", "sessions", "meta", "messages", "inbox"}, names)
	for _, name := range names {
		indexes, err := db.Collection(name).Indexes().ListSpecifications(t.Context())
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, i := range indexes {
			require.False(t, seen[i.KeysDocument.String()], "%s has the index %s twice", name, i.KeysDocument)
			seen[i.KeysDocument.String()] = true
		}
		t.Logf("%s: %d indexes", name, len(indexes))
	}
}
