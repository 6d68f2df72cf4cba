package pebble_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// errSeen stops a follower that has seen a record.
var errSeen = errors.New("seen")

// gate holds the syncs of the log while it is locked.
type gate struct{ sync.RWMutex }

func (g *gate) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if filepath.Ext(op.Path) == ".log" && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			g.RLock()
			defer g.RUnlock()
		}
		return nil
	}))
}

// TestNobodyIsToldOfWhatIsNotOnTheDiskYet: reads wait for the sync of the data that they read; other reads do not wait.
func TestNobodyIsToldOfWhatIsNotOnTheDiskYet(t *testing.T) {
	sent := sendOf(1, "bob", "carol")
	later := sendOf(2, "bob")
	bob := store.Account{Username: "Bob", PasswordHash: "hash", Key: store.Key{Version: 1, PEM: "pem"}}
	eve := bob
	eve.Username = "Eve"
	hole := sent.Entries[0]
	hole.Position, hole.Kind, hole.Message = 3, store.Hole, store.NewMessageID(time.Now())
	id := []store.MessageID{later.Message.ID}
	type call func(ctx context.Context, s *pebble.Store) error
	entries := func(ctx context.Context, s *pebble.Store) error {
		_, err := s.Entries(ctx, "bob", 0, 10)
		return err
	}
	account := func(ctx context.Context, s *pebble.Store) error {
		_, err := s.Account(ctx, "bob")
		return err
	}
	cursor := func(ctx context.Context, s *pebble.Store) error {
		_, err := s.SessionCursor(ctx, "bob", "session")
		return err
	}
	insert := func(e store.Entry) call {
		return func(ctx context.Context, s *pebble.Store) error {
			_, err := s.InsertEntries(ctx, []store.Entry{e})
			return err
		}
	}
	commit := func(ctx context.Context, s *pebble.Store) error {
		_, err := s.Commit(ctx, []store.Send{later})
		return err
	}
	message := func(ctx context.Context, s *pebble.Store) error {
		_, err := s.InsertMessages(ctx, []store.Message{later.Message})
		return err
	}
	keep := func(ctx context.Context, s *pebble.Store) error {
		return s.Keep(ctx, sent.Message, sent.Message.PurgeAt.Add(time.Hour))
	}
	mark := func(ctx context.Context, s *pebble.Store) error {
		return s.MarkRead(ctx, sent.Entries[0].Place(), time.Now())
	}
	late := sent.Entries[0]
	late.User = "bob-late"
	for name, c := range map[string]struct {
		write call
		reads []call
	}{
		"a message": {message, []call{
			message, commit,
			func(ctx context.Context, s *pebble.Store) error { _, err := s.Decided(ctx, id); return err },
			func(ctx context.Context, s *pebble.Store) error { _, err := s.Messages(ctx, id); return err },
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.MessagesOf(ctx, later.Entries)
				return err
			},
		}},
		"a send": {commit, []call{
			message, commit,
			func(ctx context.Context, s *pebble.Store) error { _, err := s.Decided(ctx, id); return err },
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.MessagesOf(ctx, later.Entries)
				return err
			},
		}},
		"a tombstone of a position": {insert(hole), []call{entries}},
		"an entry of a message that is decided": {insert(late), []call{
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.Entries(ctx, "bob-late", 0, 10)
				return err
			},
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.EntriesAt(ctx, []store.Place{late.Place()})
				return err
			},
		}},
		"a message that is kept for longer": {keep, []call{
			keep, func(ctx context.Context, s *pebble.Store) error {
				_, err := s.Decided(ctx, []store.MessageID{sent.Message.ID})
				return err
			},
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.Messages(ctx, []store.MessageID{sent.Message.ID})
				return err
			},
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.MessagesOf(ctx, sent.Entries)
				return err
			},
		}},
		"a reading": {mark, []call{
			entries, mark,
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.EntriesAt(ctx, sent.Message.Places())
				return err
			},
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.Receipts(ctx, sent.Message.Places())
				return err
			},
		}},
		"an account": {
			func(ctx context.Context, s *pebble.Store) error { return s.CreateAccount(ctx, eve) },
			[]call{
				func(ctx context.Context, s *pebble.Store) error { _, err := s.Account(ctx, "eve"); return err },
				func(ctx context.Context, s *pebble.Store) error { return s.CreateAccount(ctx, eve) },
				func(ctx context.Context, s *pebble.Store) error {
					_, err := s.KeyVersions(ctx, []string{"eve"})
					return err
				},
				func(ctx context.Context, s *pebble.Store) error { _, err := s.ListKeys(ctx, "", 10); return err },
			},
		},
		"a password": {
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.ChangePassword(ctx, "bob", "hash", "other")
				return err
			},
			[]call{account, func(ctx context.Context, s *pebble.Store) error {
				return s.ReplaceHash(ctx, "bob", "hash", "another") // it is refused because of what is not on the disk yet
			}},
		},
		"a key": {
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.RotateKey(ctx, "bob", store.Key{PEM: "second"}, "")
				return err
			},
			[]call{account, func(ctx context.Context, s *pebble.Store) error {
				_, _, err := s.KeyHistory(ctx, "bob", 0, 10)
				return err
			}},
		},
		"a session": {
			func(ctx context.Context, s *pebble.Store) error {
				return s.OpenSession(ctx, "bob", "session", time.Now().Add(time.Hour))
			},
			[]call{cursor},
		},
		"a cursor": {
			func(ctx context.Context, s *pebble.Store) error { return s.AdvanceSession(ctx, "bob", "none", "e", 5) },
			[]call{cursor}, // the account's
		},
		"a value": {
			func(ctx context.Context, s *pebble.Store) error {
				_, err := s.PutOnce(ctx, "x", []byte("x"))
				return err
			},
			[]call{
				func(ctx context.Context, s *pebble.Store) error { _, err := s.Value(ctx, "x"); return err },
				func(ctx context.Context, s *pebble.Store) error {
					_, err := s.PutOnce(ctx, "x", []byte("y"))
					return err
				},
			},
		},
		"a revocation": {
			func(ctx context.Context, s *pebble.Store) error {
				return s.Revocations().Append(ctx, revocation.Record{TokenID: "t", Subject: "bob", ExpiresAt: time.Now().Add(time.Hour)})
			},
			[]call{func(ctx context.Context, s *pebble.Store) error {
				ctx, cancel := context.WithCancelCause(ctx)
				err := s.Revocations().Follow(ctx, func(revocation.Record) { cancel(errSeen) }, func() {})
				if errors.Is(context.Cause(ctx), errSeen) {
					return nil
				}
				return err
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{}
			s := open(t, folder, pebble.Options{Memory: small.Memory, FS: g.wrap(vfs.NewMem())})
			require.NoError(t, s.CreateAccount(t.Context(), bob))
			putSend(t, s, sent, true)
			g.Lock()
			release := sync.OnceFunc(g.Unlock)
			defer release()
			done := make(chan error, 1)
			go func() { done <- c.write(context.Background(), s) }()
			require.Eventually(t, func() bool { return s.UnderWay() > 0 }, time.Minute, time.Millisecond)
			require.Eventually(t, func() bool { // a pending sync is added before its data is visible
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				defer cancel()
				return c.reads[0](ctx, s) != nil
			}, time.Minute, time.Millisecond)
			for i, read := range c.reads {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				err := read(ctx, s)
				cancel()
				require.ErrorIs(t, err, store.ErrUnavailable, "read %d", i)
			}
			_, err := s.Tails(t.Context(), []string{"bob"})
			require.NoError(t, err, "others do not wait")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = s.InsertEntries(ctx, sendOf(4, "dave", "erin").Entries)
			require.NoError(t, err, "what no reader passes is not synced")
			release()
			require.NoError(t, <-done)
			for i, read := range c.reads {
				if err := read(t.Context(), s); err != nil {
					require.ErrorIs(t, err, map[bool]error{true: store.ErrUsernameTaken, false: store.ErrConflict}[name == "an account"], "read %d", i)
				}
			}
		})
	}
}
