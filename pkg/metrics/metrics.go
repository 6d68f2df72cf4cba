// Package metrics makes the registry of a process and measures the process.
package metrics

import (
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/procfs"

	"github.com/sealpost/sealpost/pkg/api"
)

// NewRegistry makes a registry with the metrics of every process: the Go runtime, the process, the build.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("sealpost"),
	)
	return r
}

// Version is the version control revision the binary was built from, or "unknown".
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// Memory returns how much memory the process uses now. It does not stop the world.
func Memory() api.MemoryUsage {
	samples := []runtimemetrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
	runtimemetrics.Read(samples)
	used, unused := int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64())
	return api.MemoryUsage{RSS: residentBytes(), HeapTotal: used + unused, HeapUsed: used}
}

// residentBytes returns 0 on systems without /proc.
func residentBytes() int64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	self, err := procfs.Self()
	if err != nil {
		return 0
	}
	stat, err := self.Stat()
	if err != nil {
		return 0
	}
	return int64(stat.ResidentMemory())
}
