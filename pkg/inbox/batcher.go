package inbox

import (
	"context"
	"errors"
	"sync"
)

// errStopped means that the batcher was stopped before it ran the work.
var errStopped = errors.New("stopped")

// batcher is a group commit: while one bulk write is under way the next gathers, and whoever arrives meanwhile shares
// it. Nothing waits for a timer, so alone a write is as fast as without it.
type batcher[T, R any] struct {
	// run performs one bulk write; its results stand in the order of the items.
	run      func(context.Context, []T) ([]R, error)
	size     func(T) int
	maxItems int
	maxBytes int
	queue    chan batchRequest[T, R]
	quit     chan struct{}
	done     chan struct{}
	once     sync.Once
}

type batchRequest[T, R any] struct {
	ctx   context.Context
	items []T
	reply chan batchReply[R]
}

type batchReply[R any] struct {
	results []R
	err     error
}

func newBatcher[T, R any](queueLength, maxItems, maxBytes int, size func(T) int, run func(context.Context, []T) ([]R, error)) *batcher[T, R] {
	b := &batcher[T, R]{
		run: run, size: size, maxItems: maxItems, maxBytes: maxBytes,
		queue: make(chan batchRequest[T, R], queueLength), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go b.loop()
	return b
}

// do has items written together with those of others and returns their own results. If ctx ends first, it returns at
// once and the items may or may not be written.
func (b *batcher[T, R]) do(ctx context.Context, items []T) ([]R, error) {
	req := batchRequest[T, R]{ctx: ctx, items: items, reply: make(chan batchReply[R], 1)}
	select {
	case b.queue <- req:
	default:
		return nil, ErrOverloaded
	}
	select {
	case r := <-req.reply:
		return r.results, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.done:
	}
	select {
	case r := <-req.reply: // answered just before the end
		return r.results, r.err
	default:
		return nil, errStopped
	}
}

// stop ends the batcher once the write under way has ended.
func (b *batcher[T, R]) stop() {
	b.once.Do(func() { close(b.quit) })
	<-b.done
}

func (b *batcher[T, R]) loop() {
	defer close(b.done)
	var held *batchRequest[T, R] // taken from the queue, but too much for the last batch
	for {
		var first batchRequest[T, R]
		if held != nil {
			first = *held
		} else {
			select {
			case first = <-b.queue:
			case <-b.quit:
				return
			}
		}
		var batch []batchRequest[T, R]
		batch, held = b.gather(first)
		b.write(batch)
	}
}

// gather takes what is waiting, up to the bounds. A request that would pass them is handed back.
func (b *batcher[T, R]) gather(first batchRequest[T, R]) (batch []batchRequest[T, R], held *batchRequest[T, R]) {
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

func (b *batcher[T, R]) bytes(r batchRequest[T, R]) int {
	n := 0
	for _, item := range r.items {
		n += b.size(item)
	}
	return n
}

// write runs one bulk write for a batch. Requests whose callers have given up are left out: what they left is settled
// by whoever meets it.
func (b *batcher[T, R]) write(batch []batchRequest[T, R]) {
	live := batch[:0]
	var items []T
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	for _, r := range batch {
		if r.ctx.Err() != nil {
			r.reply <- batchReply[R]{err: r.ctx.Err()}
			continue
		}
		live = append(live, r)
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
			r.reply <- batchReply[R]{err: err}
			continue
		}
		r.reply <- batchReply[R]{results: results[:len(r.items):len(r.items)]}
		results = results[len(r.items):]
	}
}
