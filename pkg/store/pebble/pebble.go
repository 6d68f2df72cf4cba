package pebble

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/internal/openfiles"
	"github.com/sealpost/sealpost/pkg/store"
)

// schemaVersion is what this program writes. It reads no other version: earlier ones were never released.
const schemaVersion = 2

var (
	// ErrNewerSchema means that a newer version of this program has written the store.
	ErrNewerSchema = errors.New("the store was written by a newer version")
	// ErrForeign means that the folder holds a database of another program.
	ErrForeign = errors.New("not a store of this program")

	errClosed = fmt.Errorf("%w: closed", store.ErrUnavailable)
)

// Options configure a Store; the zero value of each field selects its default.
type Options struct {
	// Memory bounds the block cache and written data that is not in tables yet, in bytes: 64 MiB by default. At most half of it is for
	// written data.
	Memory int64
	// MinFree is how much disk space must be free for writes, in bytes: 64 MiB by default. Below it all writes except those of Purge and
	// RaiseGeneration are refused, until an eighth more is free. That leaves space for Pebble's own writes: on a full disk the Store fails for good.
	MinFree uint64
	// MaxOpenFiles bounds the open tables: by default a quarter of the process's file limit, at least 500 and at most 16,384.
	MaxOpenFiles int
	// Log receives errors; nil discards them.
	Log *slog.Logger
	// Observe is called after every operation of the ports: with its context, its name, its duration including the wait for its turn to
	// write and for the sync, and whether the store failed it. A failure of Pebble's background work is reported as operation "background",
	// a time in which writes had to wait for Pebble as "stall".
	Observe func(ctx context.Context, operation string, took time.Duration, failed bool)
	// Registry registers the metrics; nil means none.
	Registry prometheus.Registerer
	// FS is the file system; the operating system's by default. Tests inject faults with it.
	FS vfs.FS
}

const (
	defaultMemory  = 64 << 20
	defaultMinFree = 64 << 20
	leastOpenFiles = 500
	mostOpenFiles  = 16384
)

func (o Options) withDefaults() Options {
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.MaxOpenFiles <= 0 {
		// Most files are connections. Opening a table costs more than reading from it; an open one takes about a kilobyte.
		o.MaxOpenFiles = int(max(leastOpenFiles, min(openfiles.Limit()/4, mostOpenFiles)))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(context.Context, string, time.Duration, bool) {}
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.FS = privateFS{o.FS}
	return o
}

// Store implements store.Store on one folder.
type Store struct {
	folder  string
	fs      vfs.FS
	db      *engine.DB
	log     *slog.Logger
	observe func(ctx context.Context, operation string, took time.Duration, failed bool)
	minFree uint64
	// readOnly is for checks.
	readOnly bool

	// jobs are taken by the writer goroutine, which owns the fields below: the number of its turn, what it knows of inboxes, and for this
	// turn whether the ids it has looked up are in use, and at which positions it has written.
	jobs    chan *job
	turn    uint64
	inboxes inboxCache
	decided map[store.MessageID]bool
	fresh   map[hashedPlace]bool

	syncs    pendingSyncs
	underWay chan *pendingSync

	// low is set while the disk is nearly full: see checkDisk. free is its free space as last checked, unchecked how many bytes were
	// written since.
	low       atomic.Bool
	free      atomic.Uint64
	unchecked atomic.Int64
	checking  sync.Mutex
	// stalled is when writes began to wait for Pebble, 0 while they do not.
	stalled atomic.Int64
	notes   notes

	// failed is closed when the store has failed, after cause is set.
	failed   chan struct{}
	failOnce sync.Once
	cause    error

	// life is read-locked by readers, and locked by Close while it closes the database.
	life   sync.RWMutex
	closed chan struct{}
	once   sync.Once
	tasks  sync.WaitGroup

	revocations revocationLog
}

var _ store.Store = (*Store)(nil)

// Open opens or creates the store in a folder, exclusively for this process. A new folder is accessible to its owner only.
func Open(ctx context.Context, folder string, o Options) (*Store, error) {
	s, err := open(ctx, folder, o, false)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", folder, err)
	}
	return s, nil
}

// underWayLen is how many syncs may be outstanding before the next write waits.
const underWayLen = 1024

func open(ctx context.Context, folder string, o Options, readOnly bool) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Store{
		folder: folder, fs: o.FS, log: o.Log, observe: o.Observe, minFree: o.MinFree, readOnly: readOnly,
		jobs: make(chan *job), decided: map[store.MessageID]bool{}, fresh: map[hashedPlace]bool{}, inboxes: inboxCache{seed: maphash.MakeSeed()}, underWay: make(chan *pendingSync, underWayLen),
		syncs:  pendingSyncs{messages: map[store.MessageID]*pendingSync{}, rows: map[string]*pendingSync{}},
		failed: make(chan struct{}), closed: make(chan struct{}),
	}
	s.fs = &guard{FS: o.FS, s: s}
	s.free.Store(unknownFree)
	s.registerMetrics(o.Registry)
	options := s.engineOptions(o)
	options.ReadOnly, options.ErrorIfNotExists = readOnly, readOnly
	if !readOnly {
		if err := o.FS.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	s.checkDisk() // first, to tell why opening takes long: a full disk has no room for what is in the log
	err := s.openEngine(ctx, options)
	if err != nil {
		return nil, err
	}
	if err = s.checkSchema(readOnly); err == nil {
		err = s.revocations.init(s)
	}
	if err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.tasks.Go(s.runWriter)
	s.tasks.Go(s.waitSyncs)
	if !readOnly {
		s.tasks.Go(s.watchDisk)
	}
	return s, nil
}

// openEngine opens the database. On a disk without room Pebble tries for ever to write what is in the log, and after a fault of the log it
// blocks; the caller can give up.
func (s *Store) openEngine(ctx context.Context, options *engine.Options) error {
	type opened struct {
		db  *engine.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := engine.Open(s.folder, options)
		done <- opened{db, err}
	}()
	select {
	case o := <-done:
		s.db = o.db
		return errors.Join(o.err, s.Err())
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.db.Close() // nobody uses it
			}
		}()
		return ctx.Err()
	}
}

var schemaKey = []byte{tableSchema}

// checkSchema initialises an empty database, and refuses schemas that this program does not know.
func (s *Store) checkSchema(readOnly bool) error {
	version, err := s.get(schemaKey)
	if err != nil {
		return err
	}
	switch {
	case len(version) == 1 && version[0] == schemaVersion:
		return nil
	case len(version) == 1 && version[0] > schemaVersion:
		return fmt.Errorf("%w: schema %d, this program knows %d", ErrNewerSchema, version[0], schemaVersion)
	case len(version) == 1:
		return fmt.Errorf("%w: schema %d was never released, this program knows %d", ErrForeign, version[0], schemaVersion)
	case version != nil || readOnly:
		return ErrForeign
	}
	all, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	empty := !all.First()
	if err := all.Close(); err != nil {
		return err
	}
	if !empty {
		return ErrForeign
	}
	return s.db.Set(schemaKey, []byte{schemaVersion}, engine.Sync)
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.view(ctx, func() error {
		_, err := s.get(schemaKey)
		return err
	})
}

// Close implements store.Store. It waits for what is under way and flushes the log into tables. A failed store is left as it is, with its
// folder locked until the process ends: nothing that may depend on what failed is written any more.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closed)
		ended := make(chan error, 1)
		go func() {
			s.tasks.Wait()
			s.life.Lock()
			defer s.life.Unlock()
			if s.Err() != nil {
				return
			}
			s.emptyLog()
			ended <- s.db.Close()
		}()
		select {
		case err = <-ended:
		case <-s.failed:
			err = s.Err()
		}
	})
	return err
}

// flushTime bounds how long Close waits for the flush.
const flushTime = 10 * time.Second

// emptyLog flushes the log into tables. The next process finds the rest in the log.
func (s *Store) emptyLog() {
	if s.readOnly {
		return
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return
	}
	wait := time.NewTimer(flushTime)
	defer wait.Stop()
	select {
	case <-flushed:
	case <-s.failed:
	case <-wait.C:
	}
}

// Failed returns a channel that is closed when the store has failed for good: see Err.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns why the store has failed, or nil. After a failure nothing can be read or written, and the process has to end.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return s.cause
	default:
		return nil
	}
}

// fail is called for errors after which it is unknown what is on the disk.
func (s *Store) fail(err error) {
	s.failOnce.Do(func() {
		s.cause = fmt.Errorf("%w: the store has failed: %w", store.ErrUnavailable, err)
		s.log.Error("the store has failed and cannot go on", "folder", s.folder, "error", err.Error())
		close(s.failed)
	})
}

// view runs f, which reads, while the database stays open. If the store fails meanwhile, f's result is dropped: it may have seen data that
// is on no disk.
func (s *Store) view(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	s.life.RLock()
	defer s.life.RUnlock()
	select {
	case <-s.closed:
		return errClosed
	case <-s.failed:
		return s.Err()
	default:
	}
	err := f()
	if failed := s.Err(); failed != nil {
		return failed
	}
	return unavailable(err)
}

// read is view, reported to the observer.
func (s *Store) read(ctx context.Context, operation string, f func() error) error {
	return s.observed(ctx, operation, func() error { return s.view(ctx, f) })
}

// get returns a copy of a value, or nil.
func (s *Store) get(key []byte) (value []byte, err error) {
	_, err = s.look(key, func(v []byte) error {
		value = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	return value, err
}

// look passes a value to f, which must not keep it, and reports whether there is one.
func (s *Store) look(key []byte, f func(value []byte) error) (found bool, err error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = f(value)
	return true, errors.Join(err, closer.Close())
}

// has reports whether there is a value.
func (s *Store) has(key []byte) (bool, error) {
	return s.look(key, func([]byte) error { return nil })
}

// unavailable turns Pebble's errors into store.ErrUnavailable; sentinels of the ports pass unchanged.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUsernameTaken), errors.Is(err, store.ErrConflict),
		errors.Is(err, store.ErrUnavailable):
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// privateFS makes folders accessible to their owner only: the store holds password hashes.
type privateFS struct{ vfs.FS }

func (fs privateFS) MkdirAll(dir string, _ os.FileMode) error { return fs.FS.MkdirAll(dir, 0o700) }

func (fs privateFS) Unwrap() vfs.FS { return fs.FS }
