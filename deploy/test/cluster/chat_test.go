package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/clitest"
	"github.com/sealpost/sealpost/deploy/test/cluster"
)

// TestTwoPeopleTalkWhileNodesAreKilled: two people chat through the load balancer, with the command line, and notice nothing.
func TestTwoPeopleTalkWhileNodesAreKilled(t *testing.T) {
	r := newRig(t, options{})
	c := clitest.Build(t, r.Balancer.URL())
	c.MustRun("register", "Alice")
	c.MustRun("register", "Bob")
	alice, bob := c.Chat("alice", "bob"), c.Chat("bob", "alice")
	victims := []*cluster.Node{
		r.Nodes[cluster.Gateway][0], r.Nodes[cluster.Messages][0], r.Nodes[cluster.Gateway][1], r.Nodes[cluster.Messages][1],
	}
	for round, victim := range victims {
		question, answer := fmt.Sprintf("question %d?", round), fmt.Sprintf("answer %d!", round)
		require.NoError(t, victim.Kill())
		alice.Say(question)
		bob.WaitFor("Alice: " + question)
		require.NoError(t, victim.Restart(t.Context()))
		bob.Say(answer)
		alice.WaitFor("Bob: " + answer)
	}
	for round := range victims {
		require.Equal(t, 1, bob.Count(fmt.Sprintf("Alice: question %d?", round)))
		require.Equal(t, 1, alice.Count(fmt.Sprintf("Bob: answer %d!", round)))
	}
	history := c.MustRun("--user", "alice", "history", "--with", "bob")
	require.Equal(t, 2*len(victims), strings.Count(history, "\n"), history)
}
