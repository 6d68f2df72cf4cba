// Package batch lets callers share the cost of an operation: what the database calls group commit.
package batch

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

var (
	// ErrFull means that more callers are waiting than the queue holds; nothing was done.
	ErrFull = errors.New("too many are waiting")
	// ErrStopped means that the Batcher was stopped before it came to the items.
	ErrStopped = errors.New("stopped")
)

// Batcher gathers: while one batch is under way the next fills up, and whoever arrives meanwhile shares it. Nothing waits
// for a timer, so that who is alone is as fast as without it. Its methods may be called concurrently.
type Batcher[T, R any] struct {
	run      func(context.Context, []T) ([]R, error)
	size     func(T) int
	waited   func(time.Duration)
	maxItems int
	maxBytes int
	queue    chan request[T, R]
	quit     chan struct{}
	done     chan struct{}
	once     sync.Once
}

type request[T, R any] struct {
	ctx    context.Context
	items  []T
	answer chan reply[R]
	since  time.Time
}

type reply[R any] struct {
	results []R
	err     error
}

// Config bounds a Batcher.
type Config struct {
	// Queue is how many callers may wait.
	Queue int
	// Items and Bytes bound a batch. One caller's items are never torn apart: a batch of one may be larger.
	Items, Bytes int
	// Waited, if set, is told how long each caller waited for its batch to begin.
	Waited func(time.Duration)
}

// New makes a Batcher, and starts it. run performs one batch; its results stand in the order of the items. size is what
// an item counts against the bound of bytes.
func New[T, R any](c Config, size func(T) int, run func(context.Context, []T) ([]R, error)) *Batcher[T, R] {
	b := &Batcher[T, R]{
		run: run, size: size, waited: c.Waited, maxItems: c.Items, maxBytes: c.Bytes,
		queue: make(chan request[T, R], c.Queue), quit: make(chan struct{}), done: make(chan struct{}),
	}
	if b.waited == nil {
		b.waited = func(time.Duration) {}
	}
	go b.loop()
	return b
}

// Do has items done together with those of others and returns their own results. If ctx ends first, it returns at once
// and the items may or may not be done.
func (b *Batcher[T, R]) Do(ctx context.Context, items []T) ([]R, error) {
	req := request[T, R]{ctx: ctx, items: items, answer: make(chan reply[R], 1), since: time.Now()}
	select {
	case b.queue <- req:
	default:
		return nil, ErrFull
	}
	select {
	case r := <-req.answer:
		return r.results, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.done:
	}
	select {
	case r := <-req.answer: // answered just before the end
		return r.results, r.err
	default:
		return nil, ErrStopped
	}
}

// Waiting is how many callers wait for the batch after the one under way.
func (b *Batcher[T, R]) Waiting() int { return len(b.queue) }

// Stop ends the Batcher once the batch under way has ended.
func (b *Batcher[T, R]) Stop() {
	b.once.Do(func() { close(b.quit) })
	<-b.done
}

func (b *Batcher[T, R]) loop() {
	defer close(b.done)
	var held *request[T, R] // taken from the queue, but too much for the last batch
	for {
		var first request[T, R]
		if held != nil {
			first = *held
		} else {
			select {
			case first = <-b.queue:
			case <-b.quit:
				return
			}
		}
		var batch []request[T, R]
		batch, held = b.gather(first)
		b.perform(batch)
	}
}

// gather takes what is waiting, up to the bounds. A request that would pass them is handed back.
func (b *Batcher[T, R]) gather(first request[T, R]) (batch []request[T, R], held *request[T, R]) {
	batch = append(batch, first)
	items, bytes := len(first.items), b.bytes(first)
	for items < b.maxItems && bytes < b.maxBytes {
		select {
		case next := <-b.queue:
			items, bytes = items+len(next.items), bytes+b.bytes(next)
			if items > b.maxItems || bytes > b.maxBytes {
				return batch, &next
			}
			batch = append(batch, next)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

func (b *Batcher[T, R]) bytes(r request[T, R]) int {
	n := 0
	for _, item := range r.items {
		n += b.size(item)
	}
	return n
}

// perform runs a batch. Requests whose callers have given up are left out. What is done for all of them stands in the
// trace of one.
func (b *Batcher[T, R]) perform(batch []request[T, R]) {
	live := batch[:0]
	var items []T
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	for _, r := range batch {
		if r.ctx.Err() != nil {
			r.answer <- reply[R]{err: r.ctx.Err()}
			continue
		}
		b.waited(time.Since(r.since))
		live = append(live, r)
		if span := trace.SpanFromContext(r.ctx); span.IsRecording() {
			ctx = trace.ContextWithSpan(context.Background(), span)
		}
		items = append(items, r.items...)
	}
	if len(live) == 0 {
		return
	}
	// The youngest request has the most time; the others stop waiting on their own.
	if deadline, ok := live[len(live)-1].ctx.Deadline(); ok {
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	results, err := b.run(ctx, items)
	cancel()
	for _, r := range live {
		if err != nil {
			r.answer <- reply[R]{err: err}
			continue
		}
		r.answer <- reply[R]{results: results[:len(r.items):len(r.items)]}
		results = results[len(r.items):]
	}
}
