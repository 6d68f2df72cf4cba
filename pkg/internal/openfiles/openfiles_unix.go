//go:build unix

// Package openfiles tells how many files a process may have open.
package openfiles

import "syscall"

// Limit returns how many files, connections among them, this process may have open; 0 if that is not known.
func Limit() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	const unlimited = 1 << 30 // more than there ever are
	return int64(min(limit.Cur, unlimited))
}
