// Package batch lets callers share the cost of an operation: group commit, as databases call it.
package batch

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

var (
	// ErrFull means that the queue is full; nothing was done.
	ErrFull = errors.New("too many are waiting")
	// ErrStopped means that the Batcher was stopped before it reached the items.
	ErrStopped = errors.New("stopped")
)

// Batcher collects requests: while one batch is under way, callers that arrive share the next one. There is no timer, so a single caller is
// as fast as without a Batcher. Its methods may be called concurrently.
//
// Small requests do not wait behind earlier large ones: each batch takes one large request first, then the small ones, and more large ones
// only if there are no small ones. Among the small ones and among the large ones, owners take turns: see For.
type Batcher[T, R any] struct {
	run      func(context.Context, []T) ([]R, error)
	size     func(T) int
	waited   func(time.Duration)
	maxItems int
	maxBytes int
	maxQueue int
	mu       sync.Mutex
	small    turns[T, R]
	large    turns[T, R]
	arrived  chan struct{} // holds a token if something may be waiting
	quit     chan struct{}
	done     chan struct{}
	once     sync.Once
}

// largeShare: a request that exceeds this part of a batch, a sixteenth, is large.
const largeShare = 16

type request[T, R any] struct {
	ctx    context.Context
	owner  string
	items  []T
	bytes  int
	answer chan reply[R]
	since  time.Time
	// next is the owner's next request in the queue.
	next *request[T, R]
}

type reply[R any] struct {
	results []R
	err     error
}

// Config bounds a Batcher.
type Config struct {
	// Queue is how many callers may wait.
	Queue int
	// Items and Bytes bound a batch. One caller's items are never split: a batch of one caller may be larger.
	Items, Bytes int
	// Waited, if set, is told how long each caller waited for its batch to begin.
	Waited func(time.Duration)
}

// New makes and starts a Batcher. run performs one batch; its results are in the order of the items. size is what an item counts against
// Config.Bytes.
func New[T, R any](c Config, size func(T) int, run func(context.Context, []T) ([]R, error)) *Batcher[T, R] {
	b := &Batcher[T, R]{
		run: run, size: size, waited: c.Waited, maxItems: c.Items, maxBytes: c.Bytes, maxQueue: c.Queue,
		arrived: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	if b.waited == nil {
		b.waited = func(time.Duration) {}
	}
	go b.loop()
	return b
}

// Do runs items in a batch with those of other callers and returns their results. If ctx ends first, it returns at once, and the items may
// or may not be done.
func (b *Batcher[T, R]) Do(ctx context.Context, items []T) ([]R, error) {
	req := &request[T, R]{ctx: ctx, owner: ownerOf(ctx), items: items, answer: make(chan reply[R], 1), since: time.Now()}
	for _, item := range items {
		req.bytes += b.size(item)
	}
	if !b.enqueue(req) {
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

func (b *Batcher[T, R]) enqueue(req *request[T, R]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.small.count+b.large.count >= b.maxQueue {
		return false
	}
	if len(req.items) > b.maxItems/largeShare || req.bytes > b.maxBytes/largeShare {
		b.large.push(req)
	} else {
		b.small.push(req)
	}
	select {
	case b.arrived <- struct{}{}:
	default:
	}
	return true
}

// Waiting returns how many callers wait for the batch after the current one.
func (b *Batcher[T, R]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.small.count + b.large.count
}

// Stop waits for the batch under way and ends the Batcher. Requests still waiting fail with ErrStopped.
func (b *Batcher[T, R]) Stop() {
	b.once.Do(func() { close(b.quit) })
	<-b.done
}

func (b *Batcher[T, R]) loop() {
	defer close(b.done)
	for {
		select {
		case <-b.quit:
			return
		case <-b.arrived:
		}
		for batch := b.gather(); len(batch) > 0; batch = b.gather() {
			b.perform(batch)
			select {
			case <-b.quit:
				return
			default:
			}
		}
	}
}

// gather takes waiting requests, up to the bounds.
func (b *Batcher[T, R]) gather() (batch []*request[T, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, bytes := 0, 0
	take := func(queue *turns[T, R], most int) {
		for ; most > 0 && queue.count > 0; most-- {
			next := queue.peek()
			if len(batch) > 0 && (items+len(next.items) > b.maxItems || bytes+next.bytes > b.maxBytes) {
				return
			}
			queue.pop()
			items, bytes = items+len(next.items), bytes+next.bytes
			batch = append(batch, next)
		}
	}
	onlyLarge := b.small.count == 0
	take(&b.large, 1)
	take(&b.small, b.small.count)
	if onlyLarge {
		take(&b.large, b.large.count)
	}
	return batch
}

// perform runs a batch, without the requests whose callers have given up. The batch appears in the trace of one request only.
func (b *Batcher[T, R]) perform(batch []*request[T, R]) {
	live, size := batch[:0], 0
	for _, r := range batch {
		size += len(r.items)
	}
	items := make([]T, 0, size)
	ctx := context.Background()
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
	ctx, cancel := untilLast(ctx, live)
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

// untilLast gives a batch the latest deadline of its requests; callers with earlier ones stop waiting on their own.
func untilLast[T, R any](ctx context.Context, live []*request[T, R]) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, r := range live {
		deadline, ok := r.ctx.Deadline()
		if !ok {
			return ctx, func() {}
		}
		if deadline.After(last) {
			last = deadline
		}
	}
	return context.WithDeadline(ctx, last)
}
