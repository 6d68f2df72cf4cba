package metrics_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/metrics"
)

func TestMemoryIsThatOfThisProcess(t *testing.T) {
	ballast := make([]byte, 32<<20)
	for i := range ballast {
		ballast[i] = 1
	}
	m := metrics.Memory()
	require.GreaterOrEqual(t, m.HeapUsed, int64(32<<20))
	require.GreaterOrEqual(t, m.HeapTotal, m.HeapUsed)
	if runtime.GOOS == "linux" {
		require.GreaterOrEqual(t, m.RSS, int64(32<<20))
	}
	runtime.KeepAlive(ballast)
}

func TestTheRegistryTellsTheBuild(t *testing.T) {
	families, err := metrics.NewRegistry().Gather()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	require.True(t, names["sealpost_build_info"])
	require.True(t, names["go_goroutines"])
}
