package engines

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// folder is the folder of one engine of this process. It is locked while the process lives; the next process removes what a killed one has
// left.
type folder struct {
	path    string
	lock    *os.File
	backups int
}

// lockName is the file in a folder that is locked while its process lives.
const lockName = ".lock"

// newFolder makes a folder in parent and removes unused ones there.
func newFolder(parent, name string) (*folder, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // other users' processes look into their own
		return nil, err
	}
	guard, err := lockFile(filepath.Join(parent, lockName), syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { _ = guard.Close() }()
	removeStale(parent)
	path, err := os.MkdirTemp(parent, name+"-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // as above
		return nil, err
	}
	lock, err := lockFile(filepath.Join(path, lockName), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &folder{path: path, lock: lock}, nil
}

// data is where the engine keeps its durable data.
func (f *folder) data() string { return f.file("data") }

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

// remove removes the folder; removing it again does nothing.
func (f *folder) remove() error {
	err := f.lock.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(f.path))
}

func removeStale(parent string) {
	locks, _ := filepath.Glob(filepath.Join(parent, "*", lockName))
	for _, name := range locks {
		if lock, err := lockFile(name, syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			_ = os.RemoveAll(filepath.Dir(name))
			_ = lock.Close()
		}
	}
}

func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

// Ports are taken from a range that the system does not use for outgoing connections, so that a restarted engine finds its port free.
const firstPort, lastPort = 20000, 32000

// freePort finds a free port of 127.0.0.1.
func freePort() (int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// freePorts finds n free ports. It tries the whole range in random order, so that concurrent processes rarely collide, and fails only if
// the range does not have n free ports.
func freePorts(n int) ([]int, error) {
	candidates := rand.Perm(lastPort - firstPort)
	for i := range candidates {
		candidates[i] += firstPort
	}
	return freeOf(candidates, n)
}

// freeOf returns the first n free candidates. It listens on all of them at the same time, so that none is given twice, not even to another
// process that searches concurrently.
func freeOf(candidates []int, n int) (ports []int, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	var busy error
	for _, port := range candidates {
		if len(ports) == n {
			break
		}
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
		if err != nil {
			busy = err
			continue
		}
		ports, held = append(ports, port), append(held, l)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("%d free ports are wanted, %d found: %w", n, len(ports), busy)
	}
	return ports, nil
}
