package pebble

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnAnswerWaitsForTheLastOfWhatItRestsOn: in whatever order the flights were seen.
func TestAnAnswerWaitsForTheLastOfWhatItRestsOn(t *testing.T) {
	early, late := &flight{turn: 5}, &flight{turn: 6}
	for _, looks := range [][]*flight{{late}, {early, late}, {late, early}, {nil, late, nil}} {
		w := &turn{}
		for _, f := range looks {
			w.saw(f)
		}
		require.Same(t, late, w.seen)
	}
}
