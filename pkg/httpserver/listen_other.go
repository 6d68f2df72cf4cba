//go:build !linux

package httpserver

import "syscall"

// setOptions does nothing: other systems name these options differently, or lack them. Probes still find a dead peer.
func setOptions(_, _ string, _ syscall.RawConn) error { return nil }
