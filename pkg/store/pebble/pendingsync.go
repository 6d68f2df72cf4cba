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

// pendingSync is a batch that is visible while its sync is outstanding.
type pendingSync struct {
	batch *engine.Batch
	// turn is the number of its turn: pending syncs end in this order.
	turn     uint64
	messages []store.MessageID
	rows     []string
	// job is the write that waits for the pending sync.
	job *job
	// done is closed when the pending sync ends, after err is set. nil means that everything in it is durable.
	done chan struct{}
	err  error
}

// pendingSyncs tracks what is visible but not durable yet. A batch is added before Pebble makes it visible, and removed when its sync has
// succeeded. So a reader that does not find data here after reading it has read durable data. After a failed sync the batch stays, so that
// nobody is ever told of it.
//
// Pebble syncs its log from the front: when a batch is durable, so are all before it.
type pendingSyncs struct {
	// count is the number of pending syncs. Reads check nothing else while it is 0.
	count atomic.Int64

	mu       sync.Mutex
	messages map[store.MessageID]*pendingSync
	// rows are keys of other tables. The prefix of an inbox stands for all its entries.
	rows map[string]*pendingSync
}

func (a *pendingSyncs) begin(f *pendingSync) {
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

func (a *pendingSyncs) end(f *pendingSync) {
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

// message returns the pending sync that a message is in, or nil.
func (a *pendingSyncs) message(id store.MessageID) *pendingSync {
	if a.count.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.messages[id]
}

// row returns the pending sync that a row is in, or nil.
func (a *pendingSyncs) row(key []byte) *pendingSync {
	if a.count.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rows[string(key)]
}

// waitSyncs waits for the syncs in the order in which they end.
func (s *Store) waitSyncs() {
	for f := range s.underWay {
		s.landed(f)
	}
}

func (s *Store) landed(f *pendingSync) {
	if err := f.batch.SyncWait(); err != nil {
		s.fail(fmt.Errorf("sync of the log: %w", err))
	}
	if f.err = s.Err(); f.err == nil { // a sync after a fault proves nothing: see guard.go
		s.syncs.end(f)
		_ = f.batch.Close() // it releases memory; its error does not matter
	}
	close(f.done)
	f.job.end(nil, f.err)
}

// await waits until a pending sync's data is durable; nil is durable.
func (s *Store) await(ctx context.Context, f *pendingSync) error {
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
	return s.await(ctx, s.syncs.row(key))
}

// awaitMessage waits until a message that was read is durable.
func (s *Store) awaitMessage(ctx context.Context, id store.MessageID) error {
	return s.await(ctx, s.syncs.message(id))
}

// job is a write on its way through the writer goroutine.
type job struct {
	write func(t *turn) error
	// synced is the initial value of turn.synced.
	synced bool
	// handed is closed when the writer no longer touches the caller's data.
	handed chan struct{}
	// done is closed when the write is over: durable, if required. seen and err are set before.
	done chan struct{}
	seen *pendingSync
	err  error
}

func (j *job) end(seen *pendingSync, err error) {
	j.seen, j.err = seen, err
	close(j.done)
}

// turn is the exclusive part of a write: it checks what exists and collects what is to be written.
type turn struct {
	s     *Store
	batch *engine.Batch
	// synced means that the write has to be durable before it is acknowledged.
	synced bool
	// decides and marks are the messages and the rows for whose sync readers wait.
	decides []store.MessageID
	marks   []string
	// seen is the latest pending sync of the data that the turn read, if any: an answer based on it has to wait for it.
	seen *pendingSync
}

// dependsOn records the pending sync of data that was read; nil means none.
func (t *turn) dependsOn(f *pendingSync) {
	if f != nil && (t.seen == nil || f.turn > t.seen.turn) {
		t.seen = f
	}
}

// get returns a copy of a row, or nil.
func (t *turn) get(key []byte) ([]byte, error) {
	t.dependsOn(t.s.syncs.row(key))
	return t.s.get(key)
}

// set writes a row for whose sync readers wait.
func (t *turn) set(key, value []byte) error {
	t.marks = append(t.marks, string(key))
	return t.batch.Set(key, value, nil)
}

// write has the writer run f and makes its writes durable. f writes everything or, with an error, nothing.
func (s *Store) write(ctx context.Context, operation string, f func(t *turn) error) error {
	commit := s.commit
	if operation == raiseGeneration && s.roomForCompactions() {
		commit = s.do
	}
	return s.observed(ctx, operation, func() error { return commit(ctx, true, f) })
}

// commit is write without the observer. synced is the initial value of turn.synced.
func (s *Store) commit(ctx context.Context, synced bool, f func(t *turn) error) error {
	if s.low.Load() {
		return errFull
	}
	return s.do(ctx, synced, f)
}

// do passes a job to the writer. The caller can give up before the job begins, or once its data is no longer used.
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
		case <-failed: // the writer may wait for ever
			failed, handed = nil, j.handed
		case <-handed:
			if err := s.Err(); err != nil {
				return err
			}
			return unavailable(ctx.Err())
		}
	}
}

// runWriter performs all writes. It has its own goroutine because a call into a Pebble that cannot go on does not return.
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
	last := &pendingSync{batch: t.batch, turn: s.turn, messages: t.decides, rows: t.marks, job: j, done: make(chan struct{})}
	s.syncs.begin(last)
	if err := s.apply(t.batch, true); err != nil {
		j.end(nil, err) // the store has failed: the pending sync never ends
		return
	}
	s.underWay <- last
}

// apply passes a batch to Pebble. An error makes the store fail, and so does a panic, with which Pebble reports that it cannot write its
// log.
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

// observed runs an operation and reports it to the observer. Errors caused by the request, such as a name that is taken, are no failures.
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
