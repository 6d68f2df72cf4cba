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
//
// A small request does not wait behind the large ones that came before it: of those, one goes into each batch ahead of the
// small ones, and more only where there is room left.
type Batcher[T, R any] struct {
	run      func(context.Context, []T) ([]R, error)
	size     func(T) int
	waited   func(time.Duration)
	maxItems int
	maxBytes int
	maxQueue int
	mu       sync.Mutex
	small    []request[T, R]
	large    []request[T, R]
	arrived  chan struct{} // holds a token if something may be waiting
	quit     chan struct{}
	done     chan struct{}
	once     sync.Once
}

// largeShare is the part of a batch from which on a request is large: a sixteenth.
const largeShare = 16

type request[T, R any] struct {
	ctx    context.Context
	items  []T
	bytes  int
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
		run: run, size: size, waited: c.Waited, maxItems: c.Items, maxBytes: c.Bytes, maxQueue: c.Queue,
		arrived: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
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

func (b *Batcher[T, R]) enqueue(req request[T, R]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.small)+len(b.large) >= b.maxQueue {
		return false
	}
	if len(req.items) > b.maxItems/largeShare || req.bytes > b.maxBytes/largeShare {
		b.large = append(b.large, req)
	} else {
		b.small = append(b.small, req)
	}
	select {
	case b.arrived <- struct{}{}:
	default:
	}
	return true
}

// Waiting is how many callers wait for the batch after the one under way.
func (b *Batcher[T, R]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.small) + len(b.large)
}

// Stop ends the Batcher once the batch under way has ended.
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

// gather takes what is waiting, up to the bounds.
func (b *Batcher[T, R]) gather() (batch []request[T, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, bytes := 0, 0
	take := func(queue *[]request[T, R], most int) {
		for ; most > 0 && len(*queue) > 0; most-- {
			next := (*queue)[0]
			if len(batch) > 0 && (items+len(next.items) > b.maxItems || bytes+next.bytes > b.maxBytes) {
				return
			}
			items, bytes = items+len(next.items), bytes+next.bytes
			batch = append(batch, next)
			(*queue)[0] = request[T, R]{} // its items are not held any longer than needed
			*queue = (*queue)[1:]
		}
	}
	take(&b.large, 1)
	take(&b.small, len(b.small))
	take(&b.large, len(b.large))
	return batch
}

// perform runs a batch. Requests whose callers have given up are left out. What is done for all of them stands in the
// trace of one.
func (b *Batcher[T, R]) perform(batch []request[T, R]) {
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

// untilLast gives a batch the time of the request that has the most; the others stop waiting on their own.
func untilLast[T, R any](ctx context.Context, live []request[T, R]) (context.Context, context.CancelFunc) {
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
