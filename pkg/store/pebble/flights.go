package pebble

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"github.com/sealpost/sealpost/pkg/store"
)

// flight is a batch that is visible and whose sync is outstanding.
type flight struct {
	batch    *engine.Batch
	messages []store.MessageID
	rows     []string
	// done is closed at the end of the flight. err is set by then: nil means that all it wrote is durable.
	done chan struct{}
	err  error
}

// flights knows what is visible and not durable yet. A batch is noted before Pebble makes it visible, and taken out when its sync has
// succeeded: whoever has read something, and does not find it here afterwards, has read what is durable. After a sync that failed all
// stays noted, so that nobody is ever told of what was written.
//
// Pebble syncs its log from the front: with a batch all before it are durable.
type flights struct {
	// count is how many are under way. Reads look no further when there are none.
	count atomic.Int64

	mu       sync.Mutex
	messages map[store.MessageID]*flight
	// rows are keys of other tables. The prefix of an inbox stands for all its entries.
	rows map[string]*flight
}

func (a *flights) begin(f *flight) {
	a.count.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range f.messages {
		a.messages[id] = f
	}
	for _, row := range f.rows {
		a.rows[row] = f
	}
}

func (a *flights) end(f *flight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range f.messages {
		if a.messages[id] == f {
			delete(a.messages, id)
		}
	}
	for _, row := range f.rows {
		if a.rows[row] == f {
			delete(a.rows, row)
		}
	}
	a.count.Add(-1)
}

// message is the flight that a message is in, or nil.
func (a *flights) message(id store.MessageID) *flight {
	if a.count.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.messages[id]
}

// row is the flight that a row is in, or nil.
func (a *flights) row(key []byte) *flight {
	if a.count.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rows[string(key)]
}

// land waits for the syncs, one after the other: that is the order in which they end.
func (s *Store) land() {
	for {
		select {
		case f := <-s.underWay:
			s.landed(f)
		case <-s.closed:
			for {
				select {
				case f := <-s.underWay:
					s.landed(f)
				default:
					return
				}
			}
		}
	}
}

func (s *Store) landed(f *flight) {
	if err := f.batch.SyncWait(); err != nil {
		s.fail(fmt.Errorf("sync of the log: %w", err))
	}
	if f.err = s.Err(); f.err == nil { // nothing that is synced after a fault counts: see guard.go
		s.flights.end(f)
		_ = f.batch.Close() // it gives memory back, and has nothing to say
	}
	close(f.done)
}

// await waits until what is in a flight is durable; nil is.
func (s *Store) await(ctx context.Context, f *flight) error {
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
		return f.err
	default:
	}
	select {
	case <-f.done:
		return f.err
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// awaitRow waits until a row that was read is durable.
func (s *Store) awaitRow(ctx context.Context, key []byte) error {
	return s.await(ctx, s.flights.row(key))
}

// awaitMessage waits until a message that was read is durable.
func (s *Store) awaitMessage(ctx context.Context, id store.MessageID) error {
	return s.await(ctx, s.flights.message(id))
}

// turn is what a write does while no other does: it looks at what is there, and collects what is to be written.
type turn struct {
	s     *Store
	batch *engine.Batch
	// synced says that the write has to be durable before it is acknowledged.
	synced bool
	// decides and marks are the messages and the rows that readers wait for.
	decides []store.MessageID
	marks   []string
	// seen is the flight of what was looked at, if there is one: an answer that rests on that has to wait for it.
	seen *flight
}

// get returns a copy of a row, nil if there is none.
func (t *turn) get(key []byte) ([]byte, error) {
	if f := t.s.flights.row(key); f != nil {
		t.seen = f
	}
	return t.s.get(key)
}

// set writes a row that readers wait for.
func (t *turn) set(key, value []byte) error {
	t.marks = append(t.marks, string(key))
	return t.batch.Set(key, value, nil)
}

// write runs f in its turn and makes what it writes durable. f writes all or, with an error, nothing.
func (s *Store) write(ctx context.Context, operation string, f func(t *turn) error) error {
	return s.observed(ctx, operation, func() error { return s.commit(ctx, true, f) })
}

// commit is write without an observer. synced is what turn.synced begins with.
func (s *Store) commit(ctx context.Context, synced bool, f func(t *turn) error) error {
	if s.low.Load() {
		return errFull
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	last, err := s.takeTurn(synced, f)
	s.leave()
	if sync := s.await(ctx, last); sync != nil {
		return sync
	}
	return unavailable(err)
}

// errFull is for writes to a disk that is nearly full.
var errFull = fmt.Errorf("%w: the disk is nearly full", store.ErrUnavailable)

// enter waits until it is the caller's turn to write.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-s.closed:
		return errClosed
	case <-s.failed:
		return s.Err()
	}
	select {
	case <-s.closed:
		s.leave()
		return errClosed
	case <-s.failed:
		s.leave()
		return s.Err()
	default:
		return nil
	}
}

func (s *Store) leave() { <-s.turn }

// takeTurn returns the flight after which the answer may be given.
func (s *Store) takeTurn(synced bool, f func(t *turn) error) (*flight, error) {
	t := &turn{s: s, batch: s.db.NewBatch(), synced: synced}
	err := f(t)
	if err != nil || t.batch.Empty() {
		return t.seen, errors.Join(err, t.batch.Close())
	}
	if !t.synced {
		return t.seen, errors.Join(s.apply(t.batch, false), t.batch.Close())
	}
	last := &flight{batch: t.batch, messages: t.decides, rows: t.marks, done: make(chan struct{})}
	s.flights.begin(last)
	if err := s.apply(t.batch, true); err != nil {
		return nil, err // the store has failed: the flight never ends
	}
	s.underWay <- last
	return last, nil
}

// apply hands a batch to Pebble. An error, or a panic of Pebble, which is how it tells that it cannot write its log, is the end of
// the store.
func (s *Store) apply(b *engine.Batch, synced bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", store.ErrUnavailable, p)
		}
		if err != nil {
			s.fail(err)
		}
	}()
	if synced {
		err = s.db.ApplyNoSyncWait(b, engine.Sync)
	} else {
		err = s.db.Apply(b, engine.NoSync)
	}
	if err == nil && !synced {
		err = s.Err()
	}
	return err
}

// observed runs an operation and tells the observer of it. What a caller asked in vain, such as a name that is taken, is no failure.
func (s *Store) observed(ctx context.Context, operation string, do func() error) error {
	begun := time.Now()
	err := do()
	if err != nil && errors.Is(err, store.ErrUnavailable) {
		s.noteError(operation, err)
		s.observe(ctx, operation, time.Since(begun), true)
		return err
	}
	s.observe(ctx, operation, time.Since(begun), false)
	return err
}
