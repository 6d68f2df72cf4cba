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

	"github.com/sealpost/sealpost/pkg/store"
)

// schemaVersion is what this program writes. It reads no other: none before it was released.
const schemaVersion = 2

var (
	// ErrNewerSchema means that a later version of this program has written the store.
	ErrNewerSchema = errors.New("the store was written by a newer version")
	// ErrForeign means that the folder holds a database of another program.
	ErrForeign = errors.New("it is no store of this program")

	errClosed = fmt.Errorf("%w: closed", store.ErrUnavailable)
)

// Options are what can be set; the zero value of each is its default.
type Options struct {
	// Memory bounds the blocks that are kept and what was written and is not in tables yet, in bytes: 64 MiB by default. Half of it at
	// most is for what was written.
	Memory int64
	// MinFree is how much room the disk must have for anything to be written, in bytes: 64 MiB by default. Below it all writes but those of
	// Purge are refused. That leaves room for what Pebble has to write by itself: a disk that is full is the end of a Store.
	MinFree uint64
	// MaxOpenFiles bounds the tables that are open: by default a quarter of what this process may have open, but 500 at least and 16,384 at
	// most.
	MaxOpenFiles int
	// Log is told what went wrong; nobody is by default.
	Log *slog.Logger
	// Observe is told of every operation of the ports: whom it is for, its name, how long it took with the wait for its turn to write and for
	// the sync, and whether the store failed it. What Pebble does by itself counts, where it fails, as the operation "background", and
	// the times in which writes had to wait for that as "stall".
	Observe func(ctx context.Context, operation string, took time.Duration, failed bool)
	// FS is the file system; that of the machine by default. Tests put faults into it.
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
		o.MaxOpenFiles = openFiles()
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

	// jobs is what the writer takes. What follows is its own: the number of its turn, what it knows of inboxes, and of this turn which
	// message ids are in use, of those that it has looked at, and at which positions it has written.
	jobs    chan *job
	turn    uint64
	owners  owners
	decided map[store.MessageID]bool
	fresh   map[hashedPlace]bool

	flights  flights
	underWay chan *flight

	// low is set while the disk is nearly full.
	low atomic.Bool
	// stalled is when writes began to wait for Pebble, 0 while they do not.
	stalled atomic.Int64
	notes   notes

	// failed is closed when the store has failed, after cause was set.
	failed   chan struct{}
	failOnce sync.Once
	cause    error

	// life is held by who reads, and by Close when the database is closed.
	life   sync.RWMutex
	closed chan struct{}
	once   sync.Once
	tasks  sync.WaitGroup

	revocations revocationLog
}

var _ store.Store = (*Store)(nil)

// Open opens or makes the store in a folder, for this process alone. The folder is made if it is not there, for its owner alone.
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
		jobs: make(chan *job), decided: map[store.MessageID]bool{}, fresh: map[hashedPlace]bool{}, owners: owners{seed: maphash.MakeSeed()}, underWay: make(chan *flight, underWayLen),
		flights: flights{messages: map[store.MessageID]*flight{}, rows: map[string]*flight{}},
		failed:  make(chan struct{}), closed: make(chan struct{}),
	}
	s.fs = &guard{FS: o.FS, s: s}
	options := s.engineOptions(o)
	options.ReadOnly, options.ErrorIfNotExists = readOnly, readOnly
	if !readOnly {
		if err := o.FS.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	var err error
	if s.db, err = engine.Open(folder, options); err != nil {
		return nil, err
	}
	if err = s.checkSchema(readOnly); err == nil {
		err = s.revocations.init(s)
	}
	if err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.tasks.Go(s.runWriter)
	s.tasks.Go(s.land)
	if !readOnly {
		s.checkDisk()
		s.tasks.Go(s.watchDisk)
	}
	return s, nil
}

var schemaKey = []byte{tableSchema}

// checkSchema makes an empty database a store, and refuses what this program does not know.
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

// Close implements store.Store. It waits for what is under way, and takes what is in the log over into tables. A store that has failed is left as it is, and its folder locked,
// until the process ends: nothing that might depend on what failed is written any more.
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

// flushTime bounds how long Close waits for a table, on a disk that takes none.
const flushTime = 10 * time.Second

// emptyLog has what is in the log written to tables. What is not, the next process finds in the log.
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

// Failed is closed when the store has failed for good: see Err.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err is why the store has failed: after it nothing can be read or written any more, and the process has to end. nil while it has not.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return s.cause
	default:
		return nil
	}
}

// fail is for what leaves it open what is on the disk.
func (s *Store) fail(err error) {
	s.failOnce.Do(func() {
		s.cause = fmt.Errorf("%w: the store has failed: %w", store.ErrUnavailable, err)
		s.log.Error("the store has failed and cannot go on", "folder", s.folder, "error", err.Error())
		close(s.failed)
	})
}

// view runs f, which reads, while the database stays open. What has failed tells nothing: it may have shown what is on no disk.
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

// read is view with an observer.
func (s *Store) read(ctx context.Context, operation string, f func() error) error {
	return s.observed(ctx, operation, func() error { return s.view(ctx, f) })
}

// get returns a copy of a value, nil if there is none.
func (s *Store) get(key []byte) (value []byte, err error) {
	_, err = s.look(key, func(v []byte) error {
		value = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	return value, err
}

// look hands a value to f, which must not keep it, and reports whether there is one.
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

// unavailable makes of whatever Pebble reports what the ports promise; sentinels of the ports pass.
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

// privateFS makes folders for their owner alone: the store holds password hashes.
type privateFS struct{ vfs.FS }

func (fs privateFS) MkdirAll(dir string, _ os.FileMode) error { return fs.FS.MkdirAll(dir, 0o700) }

func (fs privateFS) Unwrap() vfs.FS { return fs.FS }
