// Package nodes lets the processes of a deployment describe themselves to each other.
package nodes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/metrics"
)

// Polls counts the polls of a process.
type Polls interface {
	Open() int64
	Capacity() int64
}

// Announce describes this process to the others until stop is called. polls is nil in a process that holds none.
func Announce(d bus.Directory, id, service string, polls Polls) (stop func() error, err error) {
	started := time.Now()
	return d.Answer(func() []byte {
		status := api.NodeStatus{ID: id, Service: service, MemoryUsage: metrics.Memory(), Uptime: time.Since(started).Seconds()}
		if polls != nil {
			status.ActiveConnections, status.Capacity = polls.Open(), polls.Capacity()
		}
		text, _ := json.Marshal(status) // cannot fail: numbers and strings
		return text
	})
}

// maxAge is how long the answers are reused, so that frequent calls do not load the other nodes.
const maxAge = time.Second

// Directory finds the live nodes.
type Directory struct {
	bus bus.Directory
	now func() time.Time

	mu   sync.Mutex
	last api.StatusStats
	at   time.Time
}

// NewDirectory makes a Directory that asks on d.
func NewDirectory(d bus.Directory) *Directory { return &Directory{bus: d, now: time.Now} }

// Stats returns the sums over the live nodes, at most a second old.
func (d *Directory) Stats(ctx context.Context) (api.StatusStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() && d.now().Sub(d.at) < maxAge {
		return d.last, nil
	}
	answers, err := d.bus.Ask(context.WithoutCancel(ctx)) // others get the result too; Ask limits its own time
	if err != nil {
		return api.StatusStats{}, err
	}
	found := make([]api.NodeStatus, 0, len(answers))
	for _, text := range answers {
		var n api.NodeStatus
		if err := json.Unmarshal(text, &n); err != nil {
			return api.StatusStats{}, fmt.Errorf("describe node: %w", err)
		}
		found = append(found, n)
	}
	d.last, d.at = Sum(found), d.now()
	return d.last, nil
}

// Sum adds up nodes.
func Sum(found []api.NodeStatus) api.StatusStats {
	slices.SortFunc(found, func(a, b api.NodeStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
	})
	s := api.StatusStats{Nodes: found}
	for _, n := range found {
		s.ActiveConnections += n.ActiveConnections
		s.Capacity.Max += n.Capacity
		s.MemoryUsage.RSS += n.MemoryUsage.RSS
		s.MemoryUsage.HeapTotal += n.MemoryUsage.HeapTotal
		s.MemoryUsage.HeapUsed += n.MemoryUsage.HeapUsed
		s.Uptime = max(s.Uptime, n.Uptime)
	}
	s.Capacity.Used = s.ActiveConnections
	if s.Capacity.Max > 0 {
		s.Capacity.Percent = float64(s.Capacity.Used) * 100 / float64(s.Capacity.Max)
	}
	return s
}
