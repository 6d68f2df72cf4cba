package nodes_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/nodes"
)

// room is a bus on which every member hears every other.
type room struct {
	members []func() []byte
	asked   int
	err     error
}

func (r *room) Answer(describe func() []byte) (func() error, error) {
	r.members = append(r.members, describe)
	return func() error { r.members = nil; return nil }, nil
}

func (r *room) Ask(context.Context) ([][]byte, error) {
	r.asked++
	var answers [][]byte
	for _, describe := range r.members {
		answers = append(answers, describe())
	}
	return answers, r.err
}

type polls struct{ open, capacity int64 }

func (p polls) Open() int64     { return p.open }
func (p polls) Capacity() int64 { return p.capacity }

func TestStatsSumOverAllNodes(t *testing.T) {
	r := &room{}
	for _, n := range []struct {
		id, service string
		polls       nodes.Polls
	}{{"b", "poll-gateway", polls{3, 10}}, {"a", "poll-gateway", polls{2, 10}}, {"c", "auth", nil}} {
		_, err := nodes.Announce(r, n.id, n.service, n.polls)
		require.NoError(t, err)
	}
	directory := nodes.NewDirectory(r)
	stats, err := directory.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, stats.ActiveConnections)
	require.Equal(t, api.Capacity{Max: 20, Used: 5, Percent: 25}, stats.Capacity)
	require.Equal(t, []string{"c", "a", "b"}, []string{stats.Nodes[0].ID, stats.Nodes[1].ID, stats.Nodes[2].ID})
	require.Positive(t, stats.MemoryUsage.HeapUsed)

	_, err = directory.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, r.asked, "asked again within the second")
}

func TestNoBusIsAnError(t *testing.T) {
	away := errors.New("away")
	_, err := nodes.NewDirectory(&room{err: away}).Stats(t.Context())
	require.ErrorIs(t, err, away)
}
