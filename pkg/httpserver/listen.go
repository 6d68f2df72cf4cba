package httpserver

import (
	"context"
	"fmt"
	"net"
	"time"
)

const (
	// peerTimeout is how long a peer may confirm nothing of what was sent to it before its connection is given up. Without it, Linux goes on
	// for a quarter of an hour, and the polls and streams of a network that has died keep their places.
	peerTimeout = 45 * time.Second
	// probeAfter and probeEvery are when a connection on which nothing is sent is probed. Each probe wakes a sleeping phone.
	probeAfter = 30 * time.Second
	probeEvery = 15 * time.Second
	// mostUnsent is how much the kernel buffers of an answer, beyond what is on its way. More would hide for long whether a slow client takes
	// anything: see writePart.
	mostUnsent = 64 << 10
)

// listen binds the public port. The connections that it accepts inherit the options.
func listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{
		Control:         setOptions,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeEvery, Count: 3},
	}
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("public port: %w", err)
	}
	return l, nil
}
