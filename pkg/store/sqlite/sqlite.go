// Package sqlite keeps the truth in one SQLite file: the store of a single process.
//
// All writes go through one connection, one transaction at a time; reads go through others and, in WAL mode, never
// wait for it. A commit is on the disk when it returns (synchronous=FULL), with one exception that InsertEntries
// explains.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/sealpost/sealpost/pkg/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks the file as ours: "Seal" in ASCII.
const applicationID = 0x5365616c

const (
	// readers is how many reads can run at once.
	readers = 4
	// writerCache and readerCache are how much of the file the writing connection, and each reading one, keeps in memory at
	// most, in KiB. The indexes that are keyed by message are visited at random: while the cache holds them, a write or a read
	// costs the same in a large file as in a small one. A million messages have some 35 MiB of each.
	writerCache = 64 << 10
	readerCache = 32 << 10
	// checkpointCache is next to none: a checkpoint copies pages as they are.
	checkpointCache = 64
)

// ErrNewerSchema means that a later version of this program has written the file.
var ErrNewerSchema = errors.New("the database was written by a newer version")

// Store implements store.Store on one file.
type Store struct {
	writeDB *sql.DB
	readDB  *sql.DB
	// writer is the one connection that writes; turn is held while it is used.
	writer *sql.Conn
	turn   chan struct{}
	// syncing is how the writer's commits end. The writer's turn guards it.
	syncing syncing
	closed  chan struct{}
	once    sync.Once

	stmts       statements
	revocations revocationLog
	checkpoints checkpoints
	places      places
	observe     func(ctx context.Context, operation string, took time.Duration, failed bool)
}

var _ store.Store = (*Store)(nil)

// Option changes how a Store works.
type Option func(*Store)

// WithObserver has f told of every operation of the ports: whom it is for, its name, how long it took with the wait for its turn to write,
// and whether the file failed it.
func WithObserver(f func(ctx context.Context, operation string, took time.Duration, failed bool)) Option {
	return func(s *Store) { s.observe = f }
}

// Open opens or makes the file at path.
func Open(ctx context.Context, path string, options ...Option) (*Store, error) {
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	s := &Store{turn: make(chan struct{}, 1), closed: make(chan struct{})}
	for _, o := range options {
		o(s)
	}
	s.revocations.init(s)
	var err error
	if s.writeDB, err = openPool(path, "&_txlock=immediate", 1, writerCache); err != nil {
		return nil, err
	}
	if s.writer, err = s.writeDB.Conn(ctx); err == nil {
		err = migrate(ctx, s.writer)
	}
	if err == nil {
		err = s.writer.QueryRowContext(ctx, "SELECT coalesce(max(place), 0) FROM messages").Scan(&s.places.last)
	}
	if err == nil {
		s.readDB, err = openPool(path, "&_pragma=query_only(1)", readers, readerCache)
	}
	if err == nil {
		err = s.stmts.prepare(ctx, s.writer, s.readDB)
	}
	if err == nil {
		err = s.checkpoints.start(s, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.Close())
	}
	return s, nil
}

// createPrivate makes the file if it is not there, for the owner alone: it holds password hashes.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return f.Close()
}

// openPool opens connections that keep up to cache KiB of the file each.
func openPool(path, options string, connections, cache int) (*sql.DB, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=journal_size_limit(67108864)&_pragma=wal_autocheckpoint(0)" + fmt.Sprintf("&_pragma=cache_size(-%d)", cache) + options
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// migrate brings the schema up to date, one embedded file a version, each in one transaction.
func migrate(ctx context.Context, conn *sql.Conn) error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(files) {
		return fmt.Errorf("%w: schema %d, this program knows %d", ErrNewerSchema, version, len(files))
	}
	for ; version < len(files); version++ {
		text, err := migrations.ReadFile("migrations/" + files[version].Name())
		if err != nil {
			return err
		}
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;", text, applicationID, version+1)
		if _, err := conn.ExecContext(ctx, script); err != nil {
			return fmt.Errorf("migration %s: %w", files[version].Name(), err)
		}
	}
	return nil
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return unavailable(s.readDB.PingContext(ctx))
}

// Close implements store.Store. It waits for the write under way.
func (s *Store) Close() error {
	var faults []error
	s.once.Do(func() {
		s.turn <- struct{}{}
		close(s.closed)
		faults = append(faults, s.checkpoints.close(), s.stmts.close())
		if s.writer != nil {
			faults = append(faults, s.writer.Close())
		}
		if s.readDB != nil {
			faults = append(faults, s.readDB.Close())
		}
		faults = append(faults, s.writeDB.Close())
		<-s.turn
	})
	return errors.Join(faults...)
}

// write runs f in a transaction, alone, and commits it to the disk.
func (s *Store) write(ctx context.Context, operation string, f func(tx *sql.Tx) error) error {
	return s.observed(ctx, operation, func() error {
		return s.inTurn(ctx, func() error { return s.transaction(ctx, f) })
	})
}

// observed runs an operation and tells the observer of it. What a caller asked in vain, such as a name that is taken, is
// no failure.
func (s *Store) observed(ctx context.Context, operation string, do func() error) error {
	begun := time.Now()
	err := do()
	if s.observe != nil {
		s.observe(ctx, operation, time.Since(begun), errors.Is(err, store.ErrUnavailable))
	}
	return err
}

func (s *Store) inTurn(ctx context.Context, f func() error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-s.closed:
		return unavailable(sql.ErrConnDone)
	}
	defer func() { <-s.turn }()
	select {
	case <-s.closed:
		return unavailable(sql.ErrConnDone)
	default:
		err := f()
		s.checkpoints.count()
		return err
	}
}

// syncing says whether a commit waits until it is on the disk.
type syncing int

const (
	unknown syncing = iota
	synced
	unsynced
)

// ready is what every transaction begins with: it makes sure that the commit will end as it is to. What a statement that
// failed has left behind is not known, so whatever goes wrong here is found out, or undone, by the next transaction, and until
// then nothing is committed.
func (s *Store) ready(want syncing) error {
	if s.syncing == want {
		return nil
	}
	s.syncing = unknown
	text := "PRAGMA synchronous=FULL"
	if want == unsynced {
		text = "PRAGMA synchronous=NORMAL"
	}
	ctx := context.Background() // that of a caller may end right after the statement
	_, err := s.writer.ExecContext(ctx, text)
	if err != nil { // as within a transaction that could not be rolled back
		_, _ = s.stmts.rollback.ExecContext(ctx)
		_, err = s.writer.ExecContext(ctx, text)
	}
	if err == nil {
		s.syncing = want
	}
	return err
}

// transaction goes on when ctx ends, until a statement of f meets that. Were the transaction itself bound to ctx, database/sql would
// roll it back in its own time, when the writer is somebody else's already.
func (s *Store) transaction(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	if err := s.ready(synced); err != nil {
		return unavailable(err)
	}
	tx, err := s.writer.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return s.failed(err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing at the end of the transaction, unless f panics
	if err := f(tx); err != nil {
		if undone := tx.Rollback(); undone != nil {
			s.syncing = unknown
		}
		return unavailable(err)
	}
	if err := tx.Commit(); err != nil {
		return s.failed(err)
	}
	return nil
}

// failed is for an error after which the writer may be in a transaction still. SQLite does not change the syncing in one: the
// next transaction begins with that, and finds out.
func (s *Store) failed(err error) error {
	s.syncing = unknown
	return unavailable(err)
}

// bulk is transaction for the bulk inserts, with statements that are prepared once: database/sql prepares anew for each
// of its transactions. It is not given up in between, because each statement that can be costs a goroutine.
func (s *Store) bulk(ctx context.Context, ends syncing, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	if err := s.ready(ends); err != nil {
		return unavailable(err)
	}
	ctx = context.WithoutCancel(ctx)
	if _, err := s.stmts.begin.ExecContext(ctx); err != nil {
		return s.failed(err)
	}
	err := f(ctx)
	if err == nil {
		_, err = s.stmts.commit.ExecContext(ctx)
	}
	if err == nil {
		return nil
	}
	if _, undone := s.stmts.rollback.ExecContext(ctx); undone != nil { // it does so where SQLite has done it by itself
		s.syncing = unknown
	}
	return unavailable(err)
}

// unavailable makes of whatever the driver reports what the ports promise; sentinels of the ports pass.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUsernameTaken), errors.Is(err, store.ErrConflict),
		errors.Is(err, store.ErrUnavailable):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return store.ErrNotFound
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// nullMillis is millis with NULL for the zero time.
func nullMillis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}
