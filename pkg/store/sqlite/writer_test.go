package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// ending is a context that ends when it has been looked at some times: it can end between any two steps of a call.
type ending struct {
	context.Context
	looks atomic.Int64
	done  chan struct{}
	once  sync.Once
}

func endAfter(ctx context.Context, looks int64) *ending {
	e := &ending{Context: ctx, done: make(chan struct{})}
	e.looks.Store(looks)
	return e
}

func (e *ending) look() {
	if e.looks.Add(-1) < 0 {
		e.once.Do(func() { close(e.done) })
	}
}

func (e *ending) Done() <-chan struct{} {
	e.look()
	return e.done
}

func (e *ending) Err() error {
	e.look()
	select {
	case <-e.done:
		return context.Canceled
	default:
		return nil
	}
}

func (*ending) Deadline() (time.Time, bool) { return time.Time{}, false }

func openFile(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func prepared(position int64) []store.Entry {
	now := time.Now()
	return []store.Entry{{User: "bob", Position: position, Kind: store.Received, Message: store.NewMessageID(now)}}
}

// requireSynced makes a write and looks how its commit is going to end.
func requireSynced(t *testing.T, s *Store, explained ...any) {
	t.Helper()
	const full = 2
	require.NoError(t, s.write(t.Context(), "look", func(tx *sql.Tx) error {
		var level int
		err := tx.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&level)
		require.Equal(t, full, level, explained...)
		return err
	}))
}

// TestACommitIsSyncedWheneverTheWriteBeforeItWasGivenUp, at any moment of it.
func TestACommitIsSyncedWheneverTheWriteBeforeItWasGivenUp(t *testing.T) {
	s := openFile(t)
	position := int64(0)
	for range 50 {
		for looks := range int64(16) {
			position++
			_, _ = s.InsertEntries(endAfter(t.Context(), looks), prepared(position)) // it may be in time or not
			requireSynced(t, s, "given up after %d looks", looks)
		}
	}
}

// TestAWriterThatWasLeftInATransactionIsUsedAgain: what could not be rolled back fails one write, and neither all that follow nor
// the syncs of those.
func TestAWriterThatWasLeftInATransactionIsUsedAgain(t *testing.T) {
	s := openFile(t)
	writes := map[string]func() error{
		"a bulk write": func() error {
			_, err := s.InsertMessages(t.Context(), []store.Message{{ID: store.NewMessageID(time.Now())}})
			return err
		},
		"prepared entries": func() error {
			_, err := s.InsertEntries(t.Context(), prepared(time.Now().UnixNano()))
			return err
		},
		"a small write": func() error { return s.RecordLogin(t.Context(), "bob", time.Now()) },
	}
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "leftover", Key: store.Key{Version: 1}}))
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "bob", Key: store.Key{Version: 1}}))
	for first, one := range writes {
		for second, other := range writes {
			_, err := s.writer.ExecContext(t.Context(), "BEGIN IMMEDIATE; UPDATE accounts SET generation = 1 WHERE username = 'leftover'")
			require.NoError(t, err)
			_ = one()
			require.NoError(t, other(), fmt.Sprint(second, " after ", first))
			requireSynced(t, s)
			left, err := s.Account(t.Context(), "leftover")
			require.NoError(t, err)
			require.Zero(t, left.Generation, "what was given up has been committed")
		}
	}
}

// TestACheckpointThatAnotherProcessHindersIsNotTakenForOneThatCopiedAll, or the log would go on growing.
func TestACheckpointThatAnotherProcessHindersIsNotTakenForOneThatCopiedAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "bob"}))
	reader, err := s.readDB.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var n int
	require.NoError(t, reader.QueryRowContext(t.Context(), "SELECT count(*) FROM accounts").Scan(&n))
	other, err := openPool(path, "", 1, checkpointCache)
	require.NoError(t, err)
	waiting := make(chan error, 1)
	go func() { // it waits for the reader, and keeps others from the log meanwhile
		for busy, log, copied, err := 1, 0, 0, error(nil); ; {
			if err = other.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &copied); err != nil || busy == 0 {
				waiting <- err
				return
			}
		}
	}()
	require.Eventually(t, func() bool {
		left, err := passive(t.Context(), s.checkpoints.db)
		require.NoError(t, err)
		return left > 0
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, reader.Rollback())
	require.NoError(t, <-waiting)
	require.NoError(t, other.Close())
}
