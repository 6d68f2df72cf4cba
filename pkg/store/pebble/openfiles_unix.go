//go:build unix

package pebble

import "syscall"

// openFiles returns a share of this process's file limit; most files are connections. Opening a table costs more than reading from it; an
// open one takes about a kilobyte.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return leastOpenFiles
	}
	return int(max(leastOpenFiles, min(limit.Cur/4, mostOpenFiles)))
}
