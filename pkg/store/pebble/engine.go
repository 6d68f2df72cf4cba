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
	// formatVersion is that of Pebble's files. A store that was opened with a higher one cannot be opened by earlier versions any more.
	formatVersion = engine.FormatTableFormatV6
	// memtables is how many of them there are at most: one is written while the others become tables. Together they take half of the memory.
	// Large ones spare compactions, which are most of what a send costs.
	memtables = 4
	// blockSize is what is read at a time, before compression: a handful of entries, or a few messages.
	blockSize = 8 << 10
	// bitsPerKey of a filter let one search in a hundred look in vain.
	bitsPerKey = 10
	// levelBytes is how much the first level below those that take what is written holds.
	levelBytes = 64 << 20
	// sublevels is how many tables lie over each other before they are merged, and maxSublevels before writes wait for that. Each makes
	// reads dearer, and compactions cheaper.
	sublevels    = 8
	maxSublevels = 24
)

func (s *Store) engineOptions(o Options) *engine.Options {
	options := &engine.Options{
		Comparer: comparer, FS: s.fs, FormatMajorVersion: formatVersion, MaxOpenFiles: o.MaxOpenFiles,
		// The cache counts what the memtables take.
		CacheSize: o.Memory, MemTableSize: uint64(o.Memory) / 2 / memtables, MemTableStopWritesThreshold: memtables,
		LBaseMaxBytes: levelBytes, L0CompactionThreshold: sublevels, L0StopWritesThreshold: maxSublevels,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, max(1, min(2, runtime.GOMAXPROCS(0)-1)) },
		Logger:                     engineLog{s}, EventListener: s.listener(),
	}
	options.Experimental.SpanPolicyFunc = tableOfItsOwn
	for i := range options.Levels {
		level := &options.Levels[i]
		level.BlockSize, level.FilterPolicy = blockSize, bloom.FilterPolicy(bitsPerKey)
		// Ciphertexts and ids cannot be compressed, and names are at the beginning of keys, of which a block keeps only what differs.
		level.Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return options
}

// tableOfItsOwn lets each of the store's tables be in files of its own. A file that held more would lie over all that stands between, and
// a compaction would have to write that anew: contents, which come in the order of their keys, need not be merged with anything.
//
// No value is kept apart from its key: what follows a prefix here is no older version of it.
func tableOfItsOwn(start []byte) (engine.SpanPolicy, []byte, error) {
	policy := engine.SpanPolicy{DisableValueSeparationBySuffix: true, ValueStoragePolicy: engine.ValueStorageLowReadLatency}
	if len(start) == 0 {
		return policy, nil, nil
	}
	return policy, []byte{start[0] + 1}, nil
}

// listener hears of what Pebble does by itself.
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

// background takes in that something failed that nobody waits for.
func (s *Store) background(err error) {
	s.noteError("background", err)
	s.observe(context.Background(), "background", 0, true)
}

// engineLog is what Pebble logs to. It tells at great length of what goes well.
type engineLog struct{ s *Store }

func (engineLog) Infof(string, ...any) {}

func (l engineLog) Errorf(format string, args ...any) {
	l.s.noteError("background", fmt.Errorf(format, args...))
}

// Fatalf is called where Pebble cannot go on, and must not return. The caller may be a write that was handed over, which learns of
// it by a panic (see apply). Or it is one of Pebble's own goroutines, which holds what others wait for: it stays where it is, as though the
// process had ended there, until it does.
func (l engineLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.s.fail(err)
	if inApply() {
		panic(err)
	}
	select {}
}

// inApply reports whether Store.apply waits for this goroutine's callers.
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

// noteInterval is how often an operation's errors are logged at most.
const noteInterval = 10 * time.Second

// notes keeps a fault that comes with every read, or that Pebble tries over and over, from filling the log.
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

// noteError logs what an operation met, unless it is that its caller has gone away or that the store cannot be used, which is told once.
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

// diskInterval is how often the room on the disk is looked at. In that time less is written than MinFree, on any disk.
const diskInterval = time.Second

func (s *Store) watchDisk() {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.checkDisk()
		case <-s.closed:
			return
		}
	}
}

func (s *Store) checkDisk() {
	usage, err := s.fs.GetDiskUsage(s.folder)
	if err != nil {
		return // there are file systems that do not tell
	}
	low := usage.AvailBytes < s.minFree
	if was := s.low.Swap(low); was == low {
		return
	}
	if low {
		s.log.Error("the disk is nearly full: nothing is written until there is room", "folder", s.folder, "freeBytes", usage.AvailBytes)
	} else {
		s.log.Info("there is room on the disk again", "folder", s.folder, "freeBytes", usage.AvailBytes)
	}
}
