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
	batch *engine.Batch
	// turn is the number of its turn: flights end in that order.
	turn     uint64
	messages []store.MessageID
	rows     []string
	// job is the write that waits for it.
	job *job
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
	for f := range s.underWay {
		s.landed(f)
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
	f.job.end(nil, f.err)
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

// job is a write on its way through the writer.
type job struct {
	write func(t *turn) error
	// synced is what turn.synced begins with.
	synced bool
	// handed is closed when nothing of the caller's is looked at or written any more: it is Pebble's.
	handed chan struct{}
	// done is closed when the write is over: durable, if it was to be. seen and err are set by then.
	done chan struct{}
	seen *flight
	err  error
}

func (j *job) end(seen *flight, err error) {
	j.seen, j.err = seen, err
	close(j.done)
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
	// seen is the last flight of what was looked at, if there is one: an answer that rests on that has to wait for it.
	seen *flight
}

// saw notes the flight of what was looked at; nil is none.
func (t *turn) saw(f *flight) {
	if f != nil && (t.seen == nil || f.turn > t.seen.turn) {
		t.seen = f
	}
}

// get returns a copy of a row, nil if there is none.
func (t *turn) get(key []byte) ([]byte, error) {
	t.saw(t.s.flights.row(key))
	return t.s.get(key)
}

// set writes a row that readers wait for.
func (t *turn) set(key, value []byte) error {
	t.marks = append(t.marks, string(key))
	return t.batch.Set(key, value, nil)
}

// write has the writer run f, and makes what it writes durable. f writes all or, with an error, nothing.
func (s *Store) write(ctx context.Context, operation string, f func(t *turn) error) error {
	return s.observed(ctx, operation, func() error { return s.commit(ctx, true, f) })
}

// errFull is for writes to a disk that is nearly full.
var errFull = fmt.Errorf("%w: the disk is nearly full", store.ErrUnavailable)

// commit is write without an observer. synced is what turn.synced begins with.
func (s *Store) commit(ctx context.Context, synced bool, f func(t *turn) error) error {
	if s.low.Load() {
		return errFull
	}
	return s.do(ctx, synced, f)
}

// do has the writer do a job. It is given up before it begins, or when nothing of the caller's is looked at any more.
func (s *Store) do(ctx context.Context, synced bool, f func(t *turn) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	j := &job{write: f, synced: synced, handed: make(chan struct{}), done: make(chan struct{})}
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-s.closed:
		return errClosed
	case <-s.failed:
		return s.Err()
	}
	given, failed := ctx.Done(), s.failed
	var handed chan struct{}
	for {
		select {
		case <-j.done:
			if err := s.await(ctx, j.seen); err != nil {
				return err
			}
			return unavailable(j.err)
		case <-given:
			given, handed = nil, j.handed
		case <-failed: // the writer may wait for what never comes
			failed, handed = nil, j.handed
		case <-handed:
			if err := s.Err(); err != nil {
				return err
			}
			return unavailable(ctx.Err())
		}
	}
}

// runWriter does all that is written. It is a goroutine of its own because Pebble, if it cannot go on, does not come back.
func (s *Store) runWriter() {
	defer close(s.underWay)
	for {
		select {
		case j := <-s.jobs:
			s.takeTurn(j)
		case <-s.closed:
			return
		}
	}
}

func (s *Store) takeTurn(j *job) {
	s.turn++
	t := &turn{s: s, batch: s.db.NewBatch(), synced: j.synced}
	err := j.write(t)
	close(j.handed)
	if err != nil || t.batch.Empty() {
		j.end(t.seen, errors.Join(err, t.batch.Close()))
		return
	}
	if !t.synced {
		j.end(t.seen, errors.Join(s.apply(t.batch, false), t.batch.Close()))
		return
	}
	last := &flight{batch: t.batch, turn: s.turn, messages: t.decides, rows: t.marks, job: j, done: make(chan struct{})}
	s.flights.begin(last)
	if err := s.apply(t.batch, true); err != nil {
		j.end(nil, err) // the store has failed: the flight never ends
		return
	}
	s.underWay <- last
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
