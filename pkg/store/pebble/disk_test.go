package pebble_test

import (
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/logging/logtest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric " + name)
	return 0
}

func TestTheMetricsTellHowMuchRoomThereIs(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5000, TotalBytes: 10_000})
	reg := prometheus.NewPedanticRegistry()
	open(t, folder, pebble.Options{Memory: small.Memory, FS: fs, MinFree: 1000, Registry: reg})
	require.EqualValues(t, 5000, gauge(t, reg, "sealpost_store_disk_free_bytes"), "known at the start")
	require.EqualValues(t, 1000, gauge(t, reg, "sealpost_store_disk_min_free_bytes"))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 10, TotalBytes: 10_000})
	require.Eventually(t, func() bool { return gauge(t, reg, "sealpost_store_disk_free_bytes") == 10 }, time.Minute, time.Millisecond)

	other := prometheus.NewPedanticRegistry()
	open(t, "another", pebble.Options{Memory: small.Memory, FS: vfs.NewMem(), Registry: other})
	require.True(t, math.IsNaN(gauge(t, other, "sealpost_store_disk_free_bytes")), "a file system that does not report it")
}

// TestADiskAtTheLimitIsLoggedOnce: space comes and goes with every compaction.
func TestADiskAtTheLimitIsLoggedOnce(t *testing.T) {
	fs := vfs.NewMem()
	logged := &logtest.Journal{}
	reg := prometheus.NewPedanticRegistry()
	open(t, folder, pebble.Options{Memory: small.Memory, FS: fs, MinFree: 1000, Registry: reg, Log: slog.New(slog.NewTextHandler(logged, nil))})
	for i := range 10 {
		for _, free := range []uint64{999, 1000 + uint64(i)*10} {
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: 10_000})
			require.Eventually(t, func() bool { return gauge(t, reg, "sealpost_store_disk_free_bytes") == float64(free) }, time.Minute, time.Millisecond)
		}
	}
	require.Equal(t, 1, strings.Count(logged.String(), "nearly full"), logged.String())
	require.NotContains(t, logged.String(), "room again")
}

// shrinking is a file system on which what the test has sent is not free any more.
type shrinking struct {
	*vfs.MemFS
	sent atomic.Uint64
}

const roomAtFirst = 1 << 40

func (f *shrinking) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: roomAtFirst - f.sent.Load(), TotalBytes: roomAtFirst}, nil
}

// TestAFastDiskIsCheckedAsItFills: the store's own writes can take MinFree long before the next check is due by time.
func TestAFastDiskIsCheckedAsItFills(t *testing.T) {
	fs := &shrinking{MemFS: vfs.NewMem()}
	reg := prometheus.NewPedanticRegistry()
	s := open(t, folder, pebble.Options{Memory: 64 << 20, FS: fs, Registry: reg})
	content := strings.Repeat("%", 256<<10)
	var unseen float64
	for position := range int64(256) {
		one := sendOf(position+1, "ann")
		one.Message.Content = content
		putSend(t, s, one, true)
		free := roomAtFirst - float64(fs.sent.Add(uint64(len(content))))
		unseen = max(unseen, gauge(t, reg, "sealpost_store_disk_free_bytes")-free)
	}
	require.LessOrEqual(t, unseen, float64(5<<20), "bytes that were written without a look at the disk")
}

// TestCompactionsLeaveTheLastRoomToTheLog: they would fill the disk, and the store fails when its log finds no room.
func TestCompactionsLeaveTheLastRoomToTheLog(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5000, TotalBytes: 10_000})
	reg := prometheus.NewPedanticRegistry()
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: fs, MinFree: 1000, Registry: reg})
	flushed := func(positions ...int64) {
		for _, position := range positions {
			putSend(t, s, sendOf(position, "ann"), true)
		}
		require.NoError(t, s.Engine().Flush())
	}
	compact := func() error { return s.Engine().Compact(t.Context(), []byte{0}, []byte{255}, false) }
	flushed(1, 3)
	flushed(2, 4) // the tables overlap: neither can be moved as it is
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 249, TotalBytes: 10_000})
	require.Eventually(t, func() bool { return gauge(t, reg, "sealpost_store_disk_free_bytes") == 249 }, time.Minute, time.Millisecond)
	require.ErrorIs(t, compact(), store.ErrUnavailable)
	_, err := s.Purge(t.Context(), time.Now().Add(48*time.Hour))
	require.NoError(t, err)
	require.NoError(t, s.Engine().Flush(), "a flush may use it: it empties the log")
	require.NoError(t, s.Err())

	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 250, TotalBytes: 10_000})
	require.Eventually(t, func() bool { return gauge(t, reg, "sealpost_store_disk_free_bytes") == 250 }, time.Minute, time.Millisecond)
	require.NoError(t, compact(), "it frees what was purged")
}
