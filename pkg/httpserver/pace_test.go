package httpserver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestABodyMayTakeAsLongAsItKeepsComing: 2 MiB at 64 KiB a second was cut off after 27 s.
func TestABodyMayTakeAsLongAsItKeepsComing(t *testing.T) {
	began := time.Unix(0, 0)
	for _, c := range []struct {
		after time.Duration
		got   int64
		until time.Duration
	}{
		{0, 0, bodyPause},
		{5 * time.Second, 1, bodyPause + time.Second/slowestBody}, // one byte is no progress
		{5 * time.Second, 64 << 10, 5*time.Second + bodyPause},
		{32 * time.Second, 2 << 20, 32*time.Second + bodyPause},
		{640 * time.Second, 5 << 20, 640*time.Second + bodyPause}, // 64 kbit/s
		{100 * time.Second, 50 << 10, 60 * time.Second},           // half of the least rate
	} {
		require.Equal(t, c.until, bodyDeadline(began, began.Add(c.after), c.got).Sub(began), "%v", c)
	}
}
