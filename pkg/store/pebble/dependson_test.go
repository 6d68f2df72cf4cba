package pebble

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnAnswerWaitsForTheLastOfWhatItRestsOn: in whatever order the pending syncs were seen.
func TestAnAnswerWaitsForTheLastOfWhatItRestsOn(t *testing.T) {
	early, late := &pendingSync{turn: 5}, &pendingSync{turn: 6}
	for _, looks := range [][]*pendingSync{{late}, {early, late}, {late, early}, {nil, late, nil}} {
		w := &turn{}
		for _, f := range looks {
			w.dependsOn(f)
		}
		require.Same(t, late, w.seen)
	}
}
