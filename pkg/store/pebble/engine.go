package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	// formatVersion is the version of Pebble's files. A store opened with a higher one cannot be opened by earlier versions any more.
	formatVersion = engine.FormatTableFormatV6
	// memtables is the most memtables: one is written while the others become tables. Together they take half of the memory. Large ones
	// save compactions, which are most of a send's cost.
	memtables = 4
	// blockSize is how much is read at a time, before compression: a handful of entries, or a few messages.
	blockSize = 8 << 10
	// bitsPerKey gives filters a false-positive rate of one in a hundred.
	bitsPerKey = 10
	// levelBytes is the size of the first level below the one that takes flushes.
	levelBytes = 64 << 20
	// sublevels is how many overlapping tables trigger a merge; with maxSublevels, writes wait for it. More of them make reads more
	// expensive and compactions cheaper.
	sublevels    = 8
	maxSublevels = 24
)

func (s *Store) engineOptions(o Options) *engine.Options {
	options := &engine.Options{
		Comparer: comparer, FS: s.fs, FormatMajorVersion: formatVersion, MaxOpenFiles: o.MaxOpenFiles,
		// The cache's size includes the memtables.
		CacheSize: o.Memory, MemTableSize: uint64(o.Memory) / 2 / memtables, MemTableStopWritesThreshold: memtables,
		LBaseMaxBytes: levelBytes, L0CompactionThreshold: sublevels, L0StopWritesThreshold: maxSublevels,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, max(1, min(2, runtime.GOMAXPROCS(0)-1)) },
		Logger:                     engineLog{s}, EventListener: s.listener(),
	}
	options.Experimental.SpanPolicyFunc = tableOfItsOwn
	for i := range options.Levels {
		level := &options.Levels[i]
		level.BlockSize, level.FilterPolicy = blockSize, bloom.FilterPolicy(bitsPerKey)
		// Ciphertexts and ids do not compress. Names begin the keys, and blocks store only the differing part of each key.
		level.Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return options
}

// tableOfItsOwn keeps each of the store's tables in separate files. A file with several would overlap everything in between, and a
// compaction would rewrite that: contents, which are written in key order, need no merging.
//
// Values are not stored apart from their keys: keys with the same prefix are not versions of one row here.
func tableOfItsOwn(start []byte) (engine.SpanPolicy, []byte, error) {
	policy := engine.SpanPolicy{DisableValueSeparationBySuffix: true, ValueStoragePolicy: engine.ValueStorageLowReadLatency}
	if len(start) == 0 {
		return policy, nil, nil
	}
	return policy, []byte{start[0] + 1}, nil
}

// listener receives events of Pebble's background work.
func (s *Store) listener() *engine.EventListener {
	return &engine.EventListener{
		BackgroundError: func(err error) { s.background(err) },
		DataCorruption: func(info engine.DataCorruptionInfo) {
			s.background(fmt.Errorf("a table is damaged: %s: %w", info.Path, info.Details))
		},
		WriteStallBegin: func(info engine.WriteStallBeginInfo) {
			s.stalled.Store(time.Now().UnixNano())
			s.noteError("stall", fmt.Errorf("writes wait: %s", info.Reason))
		},
		WriteStallEnd: func() {
			if begun := s.stalled.Swap(0); begun > 0 {
				s.observe(context.Background(), "stall", time.Since(time.Unix(0, begun)), false)
			}
		},
	}
}

// background reports a failure that no caller waits for.
func (s *Store) background(err error) {
	s.noteError("background", err)
	s.observe(context.Background(), "background", 0, true)
}

// engineLog is Pebble's logger. It drops its verbose informational messages.
type engineLog struct{ s *Store }

func (engineLog) Infof(string, ...any) {}

func (l engineLog) Errorf(format string, args ...any) {
	l.s.noteError("background", fmt.Errorf(format, args...))
}

// Fatalf is called when Pebble cannot go on; it must not return. In a write it panics, which apply recovers. In one of Pebble's own
// goroutines, which may hold locks, it blocks until the process ends.
func (l engineLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.s.fail(err)
	if inApply() {
		panic(err)
	}
	select {}
}

// inApply reports whether Store.apply is on this goroutine's stack.
func inApply() bool {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "store/pebble.(*Store).apply") {
			return true
		}
		if !more {
			return false
		}
	}
}

// noteInterval is the least time between two logged errors of an operation.
const noteInterval = 10 * time.Second

// notes keeps a repeated fault, of every read or of Pebble's retries, from flooding the log.
type notes struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (n *notes) due(operation string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.last[operation]) < noteInterval {
		return false
	}
	if n.last == nil {
		n.last = map[string]time.Time{}
	}
	n.last[operation] = now
	return true
}

// noteError logs an operation's error, unless its caller gave up or the store cannot be used, which is logged once elsewhere.
func (s *Store) noteError(operation string, err error) {
	for _, told := range []error{context.Canceled, context.DeadlineExceeded, errClosed, errFull} {
		if errors.Is(err, told) {
			return
		}
	}
	if s.Err() != nil || !s.notes.due(operation, time.Now()) {
		return
	}
	s.log.LogAttrs(context.Background(), slog.LevelError, "store operation failed", slog.String("operation", operation), slog.String("error", err.Error()))
}
