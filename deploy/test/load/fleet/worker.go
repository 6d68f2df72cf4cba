package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/wire"
)

// Work runs a worker process: it reads a Job, then orders, and writes News until its input ends.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	var job Job
	if err := lines.Decode(&job); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	w, err := newWorker(job)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	for _, p := range w.polls {
		working.Go(func() { p.run(ctx, job.Ramp) })
	}
	telling := make(chan error, 1)
	go func() { telling <- w.tell(ctx, out) }()
	for {
		var o Order
		if err := lines.Decode(&o); err != nil {
			cancel()
			working.Wait()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, <-telling)
		}
		w.storm(ctx, o, &working)
	}
}

// worker holds polls.
type worker struct {
	job   Job
	polls []*poll

	mu   sync.Mutex
	news News
}

func newWorker(job Job) (*worker, error) {
	if len(job.Servers) == 0 || len(job.Users) == 0 {
		return nil, errors.New("job: there must be a server and a user")
	}
	servers := make([]*wire.Server, len(job.Servers))
	for i, text := range job.Servers {
		var err error
		if servers[i], err = wire.Parse(text); err != nil {
			return nil, err
		}
	}
	sources := job.Sources
	if len(sources) == 0 {
		sources = []string{""}
	}
	w := &worker{job: job, news: News{Statuses: map[string]int64{}}}
	for i := job.First; i < job.First+job.Polls; i++ {
		u := job.Users[i%len(job.Users)]
		w.polls = append(w.polls, &poll{
			worker: w, index: i, token: u.Token, cursor: u.Cursor,
			conn: wire.NewConn(servers[i%len(servers)], sources[i%len(sources)]),
		})
	}
	return w, nil
}

// storm drops every connection at some time within o.Over.
func (w *worker) storm(ctx context.Context, o Order, working *sync.WaitGroup) {
	for _, p := range w.polls {
		working.Go(func() { p.dropIn(ctx, rand.N(o.Over+1)) })
	}
}

// tell writes news until ctx ends, and then the last ones.
func (w *worker) tell(ctx context.Context, out io.Writer) error {
	lines := json.NewEncoder(out)
	tick := time.NewTicker(newsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := lines.Encode(w.take()); err != nil {
			return err
		}
	}
}

// take returns what has happened since its last call.
func (w *worker) take() News {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.news
	w.news = News{Statuses: map[string]int64{}, Dropped: n.Dropped}
	before := time.Now().Add(-settle).UnixNano()
	for _, p := range w.polls {
		if since := p.since.Load(); since > 0 && since < before {
			n.Parked++
			n.Last = max(n.Last, since)
		}
	}
	return n
}

func (w *worker) count(status string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news.Statuses[status]++
}

func (w *worker) dropped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news.Dropped++
}

func (w *worker) arrived(a Arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news.Arrivals = append(w.news.Arrivals, a)
}
