package pebble

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system of a store. It hides disk faults for which Pebble would end the process or retry without a pause.
//
// A failed operation on a log fails the store, but Pebble is told that it succeeded. From then on logs are not written any more, so that
// the disk stays as it was; nothing is acknowledged (see landed), and Pebble's background work blocks where it would write the list of
// tables. Pebble itself would panic, holding locks, when it had to end a log that failed.
//
// A failed operation on a table is reported after a delay: Pebble retries the table immediately, any number of times. A compaction fails
// in the same way before it takes the last room of a disk from the log: see roomForCompactions.
type guard struct {
	vfs.FS
	s *Store
}

// Unwrap implements vfs.FS.
func (g *guard) Unwrap() vfs.FS { return g.FS }

// role is what a file is used for.
type role int

const (
	other role = iota
	logRole
	tableRole
	listRole
)

// roleOf returns the role of a file of the store. Backup files have none.
func (g *guard) roleOf(name string) role {
	base := filepath.Base(name)
	switch {
	case filepath.Clean(filepath.Dir(name)) != filepath.Clean(g.s.folder):
		return other
	case strings.HasSuffix(base, ".log"):
		return logRole
	case strings.HasSuffix(base, ".sst"):
		return tableRole
	case strings.HasPrefix(base, "MANIFEST-") || strings.HasPrefix(base, "marker."):
		return listRole
	}
	return other
}

// Create implements vfs.FS.
func (g *guard) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open(name, category, func() (vfs.File, error) { return g.FS.Create(name, category) })
}

// ReuseForWrite implements vfs.FS.
func (g *guard) ReuseForWrite(from, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open(name, category, func() (vfs.File, error) { return g.FS.ReuseForWrite(from, name, category) })
}

// compaction is Pebble's category of tables that replace others. It writes what is in memory to tables of another category.
const compaction vfs.DiskWriteCategory = "pebble-compaction"

func (g *guard) open(name string, category vfs.DiskWriteCategory, open func() (vfs.File, error)) (vfs.File, error) {
	of := g.roleOf(name)
	if g.dead(of) {
		return deadFile{}, nil
	}
	g.before(of)
	f, err := open()
	if err := g.met(of, err); err != nil {
		return nil, err
	}
	if f == nil {
		return deadFile{}, nil
	}
	guarded := &guardedFile{File: f, g: g, of: of, compacts: category == compaction}
	if of == tableRole {
		return &bufferedFile{guardedFile: guarded, buf: make([]byte, 0, tableBuffer)}, nil
	}
	return guarded, nil
}

// OpenDir implements vfs.FS. Syncing the folder makes the names of logs durable.
func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil || filepath.Clean(name) != filepath.Clean(g.s.folder) {
		return f, err
	}
	return &guardedFile{File: f, g: g, of: logRole}, nil
}

// dead reports whether writes to a file are dropped while Pebble is told that they succeeded.
func (g *guard) dead(of role) bool {
	select {
	case <-g.s.failed:
		return of == logRole
	default:
		return false
	}
}

// before blocks for ever what must not be done once the store has failed.
func (g *guard) before(of role) {
	if of == listRole && g.s.Err() != nil {
		select {}
	}
}

// retryDelay is how long the report of a failed table write is delayed.
const retryDelay = time.Second

// met returns what Pebble is told of an operation.
func (g *guard) met(of role, err error) error {
	if err == nil {
		return nil
	}
	switch of {
	case logRole:
		g.s.fail(err)
		return nil
	case tableRole:
		<-time.After(retryDelay)
	}
	return err
}

// guardedFile is a file of the store that is being written.
type guardedFile struct {
	vfs.File
	g  *guard
	of role
	// compacts means that the file is written only while there is room for compactions.
	compacts bool
}

// do performs an operation, unless the file is dead.
func (f *guardedFile) do(operation func() error) error {
	if f.g.dead(f.of) {
		return nil
	}
	f.g.before(f.of)
	return f.g.met(f.of, operation())
}

// Write implements vfs.File.
func (f *guardedFile) Write(p []byte) (n int, err error) {
	n = len(p)
	err = f.do(func() (err error) {
		var done int
		if f.compacts && !f.g.s.roomForCompactions() {
			n = 0
			return errNoRoom
		}
		f.g.s.wrote(len(p))
		if done, err = f.File.Write(p); err != nil && f.of != logRole {
			n = done
		}
		return err
	})
	return n, err
}

// Sync implements vfs.File.
func (f *guardedFile) Sync() error { return f.do(f.File.Sync) }

// SyncData implements vfs.File.
func (f *guardedFile) SyncData() error { return f.do(f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *guardedFile) SyncTo(length int64) (full bool, err error) {
	err = f.do(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// tableBuffer is how much of a table is written at a time. Pebble writes block by block, in two pieces each.
const tableBuffer = 128 << 10

// bufferedFile is a table that is being written.
type bufferedFile struct {
	*guardedFile
	buf []byte
}

// Write implements vfs.File.
func (f *bufferedFile) Write(p []byte) (int, error) {
	if len(f.buf)+len(p) > cap(f.buf) {
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= cap(f.buf) {
		return f.guardedFile.Write(p)
	}
	f.buf = append(f.buf, p...)
	return len(p), nil
}

func (f *bufferedFile) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	_, err := f.guardedFile.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

// Sync implements vfs.File.
func (f *bufferedFile) Sync() error { return f.after(f.guardedFile.Sync) }

// SyncData implements vfs.File.
func (f *bufferedFile) SyncData() error { return f.after(f.guardedFile.SyncData) }

// SyncTo implements vfs.File.
func (f *bufferedFile) SyncTo(length int64) (full bool, err error) {
	err = f.after(func() (err error) {
		full, err = f.guardedFile.SyncTo(length)
		return err
	})
	return full, err
}

// Stat implements vfs.File.
func (f *bufferedFile) Stat() (info vfs.FileInfo, err error) {
	err = f.after(func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

// Close implements vfs.File.
func (f *bufferedFile) Close() error {
	err := f.flush()
	return errors.Join(err, f.File.Close())
}

// after performs an operation after flushing the buffer to the file.
func (f *bufferedFile) after(operation func() error) error {
	if err := f.flush(); err != nil {
		return err
	}
	return operation()
}

// deadFile stands in for a log that could not be created.
type deadFile struct{ vfs.File }

func (deadFile) Write(p []byte) (int, error)    { return len(p), nil }
func (deadFile) Sync() error                    { return nil }
func (deadFile) SyncData() error                { return nil }
func (deadFile) SyncTo(int64) (bool, error)     { return true, nil }
func (deadFile) Preallocate(int64, int64) error { return nil }
func (deadFile) Close() error                   { return nil }
func (deadFile) Fd() uintptr                    { return vfs.InvalidFd }
func (deadFile) Stat() (vfs.FileInfo, error)    { return deadInfo{}, nil }
func (deadFile) Prefetch(int64, int64) error    { return nil }

// deadInfo describes a file that does not exist.
type deadInfo struct{ vfs.FileInfo }

func (deadInfo) Name() string      { return "" }
func (deadInfo) Size() int64       { return 0 }
func (deadInfo) Mode() fs.FileMode { return 0 }
func (deadInfo) IsDir() bool       { return false }
