package inbox

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of the inbox log. One per process, shared by its Writer and its Reader.
type Metrics struct {
	holesFilled        prometheus.Counter
	positionsClosed    prometheus.Counter
	sendsAborted       prometheus.Counter
	positionConflicts  prometheus.Counter
	sequencerFallbacks prometheus.Counter
	batchSize          *prometheus.HistogramVec
	// entriesBatch, messagesBatch and sendsBatch are batchSize by kind.
	entriesBatch, messagesBatch, sendsBatch prometheus.Observer
	batchWait                               *prometheus.HistogramVec
	storeReads                              *prometheus.CounterVec
}

// NewMetrics registers the metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		holesFilled: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_inbox_holes_filled_total",
			Help: "Positions that a reader filled with a hole because no writer had filled them in time.",
		}),
		positionsClosed: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_inbox_positions_closed_total",
			Help: "Positions that a send had taken, did not need and filled with a hole: it was a repeat.",
		}),
		sendsAborted: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_inbox_sends_aborted_total",
			Help: "Sends that were prepared but not committed in time, and were aborted for all recipients.",
		}),
		positionConflicts: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_inbox_position_conflicts_total",
			Help: "Entries that the store refused because their position was taken, and that took another.",
		}),
		sequencerFallbacks: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_inbox_sequencer_fallbacks_total",
			Help: "Times that positions were taken from the log's tail because the sequencer was away.",
		}),
		batchSize: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sealpost_inbox_batch_documents",
			Help:    "Documents that went into one bulk insert, by kind (entries, messages, or sends where both go together).",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}, []string{"kind"}),
		batchWait: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sealpost_inbox_batch_wait_seconds",
			Help:    "Time that sends waited for the bulk insert under way to end, by kind (entries, messages, or sends where both go together).",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"kind"}),
		storeReads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_inbox_store_reads_total",
			Help: "Reads of the log from the store, by purpose (poll, history, message).",
		}, []string{"purpose"}),
	}
	// Create all series now, so that their first event shows as an increase.
	m.entriesBatch = m.batchSize.WithLabelValues("entries")
	m.messagesBatch, m.sendsBatch = m.batchSize.WithLabelValues("messages"), m.batchSize.WithLabelValues("sends")
	for _, kind := range []string{"entries", "messages", "sends"} {
		m.batchWait.WithLabelValues(kind)
	}
	for _, purpose := range []string{"poll", "history", "message"} {
		m.storeReads.WithLabelValues(purpose)
	}
	return m
}

// waited returns a function that records how long sends wait for the group commits of a kind.
func (m *Metrics) waited(kind string) func(time.Duration) {
	wait := m.batchWait.WithLabelValues(kind)
	return func(d time.Duration) { wait.Observe(d.Seconds()) }
}
