package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/report"
)

// scraper reads the usage of the processes under load from their /metrics, and that of this process.
type scraper struct {
	urls   []string
	before usage
}

// usage is the resource usage of processes up to a moment.
type usage struct {
	at               time.Time
	serverCPU        float64 // seconds
	serverMemory     float64 // bytes
	generatorSeconds float64
}

const (
	cpuMetric    = "process_cpu_seconds_total"
	memoryMetric = "process_resident_memory_bytes"
)

func (s *scraper) begin(ctx context.Context) (err error) {
	s.before, err = s.read(ctx)
	return err
}

// usage reports the usage since begin.
func (s *scraper) usage(ctx context.Context, r *report.Report) error {
	if s.before.at.IsZero() {
		return nil
	}
	now, err := s.read(ctx)
	if err != nil {
		return err
	}
	wall := now.at.Sub(s.before.at).Seconds()
	if now.generatorSeconds > 0 {
		r.Figure("generator CPU", (now.generatorSeconds-s.before.generatorSeconds)/wall, "cores")
	}
	if len(s.urls) > 0 {
		r.Figure("server CPU", (now.serverCPU-s.before.serverCPU)/wall, "cores")
		r.Figure("server memory", now.serverMemory/(1<<20), "MiB")
	}
	return nil
}

func (s *scraper) read(ctx context.Context) (usage, error) {
	u := usage{at: time.Now(), generatorSeconds: ownCPU()}
	for _, url := range s.urls {
		values, err := scrape(ctx, url)
		if err != nil {
			return u, fmt.Errorf("metrics: %w", err)
		}
		u.serverCPU += values[cpuMetric]
		u.serverMemory += values[memoryMetric]
	}
	return u, nil
}

// scrape reads the metrics without labels.
func scrape(ctx context.Context, url string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	values := make(map[string]float64)
	lines := bufio.NewScanner(io.LimitReader(res.Body, 16<<20))
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil {
			values[name] = value
		}
	}
	return values, lines.Err()
}
