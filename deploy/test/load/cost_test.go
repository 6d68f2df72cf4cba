package load

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/load/check"
)

func TestProcessorTimeIsThatOfAProcessAndOfAllItsDescendants(t *testing.T) {
	lines := []string{
		"1 (init) S 0 1 1 0 -1 0 0 0 0 0 900 900 900 900 20 0",
		"10 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0",
		"12 (grandchild) S 11 1 1 0 -1 0 0 0 0 0 100 0 0 0 20 0",
		"11 (child) S 10 1 1 0 -1 0 0 0 0 0 10 20 0 0 20 0",
	}
	var all procs
	for _, line := range lines {
		p, err := parseStat(line)
		require.NoError(t, err)
		all = append(all, p)
	}
	used, err := all.used([]int{10, 11})
	require.NoError(t, err)
	require.Equal(t, (10+30+100)*10*time.Millisecond, used, "each is counted once")
	_, err = all.used([]int{13})
	require.ErrorContains(t, err, "13")
	for _, bad := range []string{"", "7 (x) S 1", "7 (x) S 1 1 1 0 -1 0 0 0 0 0 a 2 3 4 20"} {
		_, err := parseStat(bad)
		require.Error(t, err, bad)
	}
}

func TestWhatProcessesUsedIsDividedByWhatWasSentAndWhatArrived(t *testing.T) {
	b := &bench{Target: Target{Processes: []Processes{{Name: "server"}, {Name: "engines"}}}}
	b.reportCost(
		reading{sends: 10, deliveries: 100, used: []time.Duration{time.Second, 0}},
		reading{sends: 110, deliveries: 2100, used: []time.Duration{1200 * time.Millisecond, time.Second}},
	)
	for name, want := range map[string]float64{
		"server CPU a send": 2000, "server CPU a delivery": 100, "engines CPU a send": 10_000, "engines CPU a delivery": 500,
	} {
		got, ok := b.report.Value(name)
		require.True(t, ok, name)
		require.Equal(t, want, got, name)
	}
}

func TestOnlyWhatWasSentSinceCountsForTheCost(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc here")
	}
	b := &bench{Target: Target{Processes: []Processes{{Name: "me", PIDs: []int{os.Getpid()}}}}}
	run := check.NewRun(1, 1)
	accept := func() { run.End(run.Begin([]int{0}), check.Accepted) }
	accept()
	require.NoError(t, b.cost(run, b.readingAt(t.Context(), run, time.Now())))
	_, ok := b.report.Value("me CPU a send")
	require.False(t, ok, "nothing was sent since")

	before := make(chan reading, 1)
	before <- b.reading(run)
	accept()
	require.NoError(t, b.cost(run, before))
	_, ok = b.report.Value("me CPU a send")
	require.True(t, ok)

	b.Processes[0].PIDs = []int{1 << 30}
	require.Error(t, b.cost(run, b.readingAt(t.Context(), run, time.Now())), "a process that has ended used nothing that can be told")
}

func TestProcessesAreNamed(t *testing.T) {
	p, err := ParseProcesses("server=1,23")
	require.NoError(t, err)
	require.Equal(t, Processes{"server", []int{1, 23}}, p)
	for _, bad := range []string{"", "1,2", "server=", "server=x", "=1", "server=1,", "server=-1"} {
		_, err := ParseProcesses(bad)
		require.Error(t, err, bad)
	}
}
