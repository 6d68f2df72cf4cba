package httpapi

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkEventToStreams measures the processor time that a message to all streams of a user takes, per stream. It includes the clients,
// which are in this process.
func BenchmarkEventToStreams(b *testing.B) {
	for _, streams := range []int{1, 45} {
		for _, parks := range []bool{true, false} {
			b.Run(fmt.Sprintf("streams=%d/parks=%t", streams, parks), func(b *testing.B) { benchmarkEvents(b, streams, parks) })
		}
	}
}

func benchmarkEvents(b *testing.B, streams int, parks bool) {
	h := newTestServer(b, parks)
	text := strings.Repeat("x", 512)
	all := make([]*listener, streams)
	for i := range all {
		all[i] = h.caller("bob").listen("0")
		all[i].expect(opening)
		require.NoError(b, all[i].conn.SetDeadline(time.Time{}))
	}
	h.waiting(int64(streams))
	buf := make([]byte, 4096)
	before := processorTime()
	for b.Loop() {
		h.deliver("bob", text)
		for _, l := range all {
			for end := false; !end; {
				n, err := l.res.Body.Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				end = n > len(text) && string(buf[n-2:n]) == "\n\n" // not a heartbeat
			}
		}
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N)/float64(streams)/1e3, "cpu-µs/event")
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
