package pebble

import (
	"fmt"
	"math"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// diskInterval is how often the free space is checked.
	diskInterval = 100 * time.Millisecond
	// diskBytes is after how many bytes of the store's own writes it is checked besides: a fast disk takes MinFree in less than
	// diskInterval.
	diskBytes = 4 << 20
	// unknownFree is the free space on file systems that do not report it.
	unknownFree = math.MaxUint64
)

var (
	// errFull refuses writes to a nearly full disk.
	errFull = fmt.Errorf("%w: the disk is nearly full", store.ErrUnavailable)
	// errNoRoom refuses compactions what is left of a disk that is even fuller. Pebble tries them again.
	errNoRoom = fmt.Errorf("%w: no compactions", errFull)
)

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

// wrote counts what the store has written, and checks the disk from time to time.
func (s *Store) wrote(bytes int) {
	if s.unchecked.Add(int64(bytes)) >= diskBytes {
		s.checkDisk()
	}
}

// checkDisk finds out whether the disk is nearly full, unless another goroutine is doing that.
func (s *Store) checkDisk() {
	if s.readOnly || !s.checking.TryLock() {
		return
	}
	defer s.checking.Unlock()
	s.unchecked.Store(0)
	usage, err := s.fs.GetDiskUsage(s.folder)
	if err != nil {
		return // some file systems do not report it
	}
	s.free.Store(usage.AvailBytes)
	was, enough := s.low.Load(), s.minFree
	if was {
		enough += s.minFree / 8 // or each compaction would change the answer, and be logged
	}
	low := usage.AvailBytes < enough
	if s.low.Store(low); was == low {
		return
	}
	if low {
		s.log.Error("the disk is nearly full: no writes until there is room", "folder", s.folder, "freeBytes", usage.AvailBytes, "minFreeBytes", s.minFree)
	} else {
		s.log.Info("the disk has room again", "folder", s.folder, "freeBytes", usage.AvailBytes)
	}
}

// roomForCompactions reports whether compactions may write. They must not take the last quarter of MinFree: the store fails if its log or
// its list of tables finds no room.
func (s *Store) roomForCompactions() bool { return s.free.Load() >= s.minFree/4 }
