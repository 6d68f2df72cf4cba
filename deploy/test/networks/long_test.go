package networks_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/networks"
)

// TestTheCrowdOnTheWorstMix runs an hour of the crowd: nothing is lost or doubled, and the server's memory and descriptors stay level.
func TestTheCrowdOnTheWorstMix(t *testing.T) {
	if os.Getenv("LONG") == "" {
		t.Skip("it takes an hour: set LONG=1")
	}
	lab := startLab(t, *kind, "POLL_WAIT=10s") // shorter than the crowd's own patience
	r, err := lab.RunCrowd(t.Context(), *longTime)
	t.Logf("%s\n%s", r.Verdict, r.Said)
	for i, u := range r.Usage {
		if i%max(1, len(r.Usage)/20) == 0 {
			t.Logf("after %s: %d MiB, %d descriptors", u.At.Round(1e9), u.Memory>>20, u.Descriptors)
		}
	}
	require.NoError(t, err)
	require.Zero(t, r.Faults, r.Verdict)
	require.Positive(t, r.Acknowledged)
	requireLevel(t, r.Usage)
}

// requireLevel compares the second quarter with the last: in the first, caches fill.
func requireLevel(t *testing.T, list []networks.Usage) {
	const leastLooks = 16
	if len(list) < leastLooks {
		t.Logf("%d looks at the server are too few to judge", len(list))
		return
	}
	quarter := len(list) / 4
	early, late := highest(list[quarter:2*quarter]), highest(list[len(list)-quarter:])
	const memorySlack, descriptorSlack = 32 << 20, 32
	require.LessOrEqual(t, late.Memory, early.Memory+early.Memory/4+memorySlack, "memory grows")
	require.LessOrEqual(t, late.Descriptors, early.Descriptors+early.Descriptors/4+descriptorSlack, "descriptors grow")
}

// highest is the most of each that was seen.
func highest(list []networks.Usage) (most networks.Usage) {
	for _, u := range list {
		most.Memory, most.Descriptors = max(most.Memory, u.Memory), max(most.Descriptors, u.Descriptors)
	}
	return most
}
