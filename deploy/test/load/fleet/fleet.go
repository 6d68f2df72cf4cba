package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Options say what a fleet holds.
type Options struct {
	// Command starts a worker, which calls Work: a program and its arguments.
	Command []string
	// Processes is the number of workers that share the polls of the Job.
	Processes int
	Job       Job
	// Took is called with each answer that has messages, one call at a time; Counted with counts of answers.
	Took    func(Arrival)
	Counted func(status string, n int64)
	// Errors gets the workers' error output, in no particular order.
	Errors io.Writer
}

// Fleet is a set of running workers.
type Fleet struct {
	o       Options
	workers []*remote
	reading sync.WaitGroup

	mu sync.Mutex
	// ended is closed when a worker has ended.
	ended   chan struct{}
	endOnce sync.Once
}

// remote is a worker, seen from its parent.
type remote struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	orders *json.Encoder
	// latest is the latest news, guarded by the fleet's mu.
	latest News
}

// State is the state of all polls.
type State struct {
	Parked  int
	Last    time.Time
	Dropped int64
}

// Start starts the workers.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{o: o, ended: make(chan struct{})}
	first := 0
	for i := range o.Processes {
		job := o.Job
		job.First, job.Polls = first, o.Job.Polls*(i+1)/o.Processes-first
		first += job.Polls
		if err := f.start(ctx, job); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

func (f *Fleet) start(ctx context.Context, job Job) error {
	r := &remote{cmd: exec.CommandContext(ctx, f.o.Command[0], f.o.Command[1:]...)} //nolint:gosec // the program itself
	r.cmd.Stderr = f.o.Errors
	r.cmd.Env = os.Environ()
	in, err := r.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	r.in, r.orders = in, json.NewEncoder(in)
	f.workers = append(f.workers, r)
	f.reading.Go(func() { f.read(r, out) })
	return r.orders.Encode(job)
}

// read processes a worker's news until it ends.
func (f *Fleet) read(r *remote, out io.Reader) {
	lines := json.NewDecoder(bufio.NewReader(out))
	for {
		var n News
		if err := lines.Decode(&n); err != nil {
			f.endOnce.Do(func() { close(f.ended) })
			return
		}
		f.take(r, n)
	}
}

func (f *Fleet) take(r *remote, n News) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.latest = n
	for status, count := range n.Statuses {
		f.o.Counted(status, count)
	}
	for _, a := range n.Arrivals {
		f.o.Took(a)
	}
}

// State adds up the latest news of all workers.
func (f *Fleet) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	var s State
	for _, r := range f.workers {
		s.Parked += r.latest.Parked
		s.Dropped += r.latest.Dropped
		if last := time.Unix(0, r.latest.Last); r.latest.Last > 0 && last.After(s.Last) {
			s.Last = last
		}
	}
	return s
}

// ErrWorkerEnded means that a worker process has ended.
var ErrWorkerEnded = errors.New("a worker process has ended")

// Until waits until wished returns true.
func (f *Fleet) Until(ctx context.Context, wished func(State) bool) error {
	tick := time.NewTicker(newsEvery / 2)
	defer tick.Stop()
	for !wished(f.State()) {
		select {
		case <-tick.C:
		case <-f.ended:
			return ErrWorkerEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Storm makes all connections drop within over, and reconnect.
func (f *Fleet) Storm(over time.Duration) error {
	var faults []error
	for _, r := range f.workers {
		faults = append(faults, r.orders.Encode(Order{Over: over}))
	}
	return errors.Join(faults...)
}

// Close ends all workers.
func (f *Fleet) Close() error {
	var faults []error
	for _, r := range f.workers {
		faults = append(faults, r.in.Close())
	}
	f.reading.Wait()
	for _, r := range f.workers {
		faults = append(faults, r.cmd.Wait())
	}
	return errors.Join(faults...)
}
