//go:build unix

package pebble

import "syscall"

// openFiles is a share of the files that this process may have open. Most are connections. A table that is not open costs more to open than
// to read from; one that is takes about a kilobyte.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return leastOpenFiles
	}
	return int(max(leastOpenFiles, min(limit.Cur/4, mostOpenFiles)))
}
