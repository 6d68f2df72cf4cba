package lockedfile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/client/lockedfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChangesOfAFileComeOneAfterTheOther(t *testing.T) {
	const changes = 50
	path := filepath.Join(t.TempDir(), "count")
	var all sync.WaitGroup
	for range changes {
		all.Go(func() {
			err := lockedfile.Change(path, func(old []byte) ([]byte, error) {
				if old == nil {
					old = []byte("0")
				}
				n, err := strconv.Atoi(string(old))
				return []byte(strconv.Itoa(n + 1)), err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(changes), string(text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestAChangeThatFailsOrChangesNothingLeavesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	full := errors.New("no")
	require.ErrorIs(t, lockedfile.Change(path, func([]byte) ([]byte, error) { return []byte("x"), full }), full)
	require.NoError(t, lockedfile.Change(path, func([]byte) ([]byte, error) { return nil, nil }))
	require.NoFileExists(t, path)
	require.NoError(t, lockedfile.Change(path, func([]byte) ([]byte, error) { return []byte("x"), nil }), "the lock is free again")
	require.Error(t, lockedfile.Change(filepath.Join(path, "below a file"), func([]byte) ([]byte, error) { return []byte("x"), nil }))
}

func TestWhoWaitsForALockIsToldAndGetsItOnceItIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "place")
	unlock, err := lockedfile.Lock(t.Context(), path, func() { t.Error("nobody has it") })
	require.NoError(t, err)

	ctx, giveUp := context.WithCancel(t.Context())
	_, err = lockedfile.Lock(ctx, path, giveUp)
	require.ErrorIs(t, err, context.Canceled)

	freed := false
	second, err := lockedfile.Lock(t.Context(), path, func() {
		freed = true
		require.NoError(t, unlock())
	})
	require.NoError(t, err)
	require.True(t, freed)
	require.NoError(t, second())
}
