// Package measure keeps the measurements of a load test: latencies in HDR histograms, their course over time, and the schedule of an open
// loop.
package measure

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	lowest  = 1                                          // µs
	highest = int64(10 * time.Minute / time.Microsecond) // longer latencies count as this
	digits  = 3
	// windowDigits is coarser, as it is only for a plot.
	windowDigits = 2
)

// Series is a set of latencies. All methods may be called by many goroutines.
type Series struct {
	name  string
	start time.Time

	mu     sync.Mutex
	total  *hdrhistogram.Histogram
	window *hdrhistogram.Histogram
	second int
	last   time.Time
	over   []Interval
}

// Interval is one second of a series. Latencies are in milliseconds.
type Interval struct {
	Second int     `json:"second"`
	Count  int64   `json:"count"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// Percentile is the latency, in milliseconds, that Percent of all did not exceed.
type Percentile struct {
	Percent float64 `json:"percent"`
	Millis  float64 `json:"millis"`
}

// Summary summarizes a series. Latencies are in milliseconds.
type Summary struct {
	Name        string       `json:"name"`
	Count       int64        `json:"count"`
	Min         float64      `json:"min"`
	Mean        float64      `json:"mean"`
	Max         float64      `json:"max"`
	Percentiles []Percentile `json:"percentiles"`
	Timeline    []Interval   `json:"timeline,omitempty"`
}

// At returns a percentile of a summary, 0 if the summary does not have it.
func (s Summary) At(percent float64) float64 {
	for _, p := range s.Percentiles {
		if p.Percent == percent {
			return p.Millis
		}
	}
	return 0
}

// percents are the percentiles of a summary: enough of the tail for a plot.
var percents = []float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 100}

// NewSeries makes a series whose first second begins at start.
func NewSeries(name string, start time.Time) *Series {
	return &Series{
		name: name, start: start,
		total: hdrhistogram.New(lowest, highest, digits), window: hdrhistogram.New(lowest, highest, windowDigits),
	}
}

// Start is when the series begins.
func (s *Series) Start() time.Time { return s.start }

// Record adds latencies that were all measured at the same moment.
func (s *Series) Record(at time.Time, latencies ...time.Duration) {
	if len(latencies) == 0 || at.Before(s.start) {
		return
	}
	second := int(at.Sub(s.start) / time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.last) {
		s.last = at
	}
	if second > s.second {
		s.flush()
		s.second = second
	}
	for _, l := range latencies {
		micros := min(max(l.Microseconds(), lowest), highest)
		_ = s.total.RecordValue(micros) // in range
		_ = s.window.RecordValue(micros)
	}
}

// flush ends a second. The caller holds s.mu.
func (s *Series) flush() {
	if s.window.TotalCount() == 0 {
		return
	}
	s.over = append(s.over, Interval{
		Second: s.second, Count: s.window.TotalCount(),
		P50: millis(s.window.ValueAtQuantile(50)), P99: millis(s.window.ValueAtQuantile(99)), Max: millis(s.window.Max()),
	})
	s.window.Reset()
}

// Count is the number of latencies recorded so far.
func (s *Series) Count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total.TotalCount()
}

// Quantile is the latency that percent of all so far did not exceed.
func (s *Series) Quantile(percent float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.total.ValueAtQuantile(percent)) * time.Microsecond
}

// Rate is the number of recorded latencies a second, from the start of the series to the last one.
func (s *Series) Rate() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.After(s.start) {
		return 0
	}
	return float64(s.total.TotalCount()) / s.last.Sub(s.start).Seconds()
}

// Summary summarizes the series.
func (s *Series) Summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	sum := Summary{
		Name: s.name, Count: s.total.TotalCount(), Mean: s.total.Mean() / 1000,
		Min: millis(s.total.Min()), Max: millis(s.total.Max()), Timeline: s.over,
	}
	for _, p := range percents {
		v := s.total.ValueAtQuantile(p)
		if p == 0 {
			v = s.total.Min()
		}
		sum.Percentiles = append(sum.Percentiles, Percentile{p, millis(v)})
	}
	return sum
}

func millis(micros int64) float64 { return float64(micros) / 1000 }
