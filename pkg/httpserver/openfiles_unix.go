//go:build unix

package httpserver

import "syscall"

// openFiles returns how many files this process may have open; 0 if that is not known.
func openFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(limit.Cur, 1<<30)) //nolint:gosec // it fits
}
