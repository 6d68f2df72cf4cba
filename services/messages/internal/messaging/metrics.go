package messaging

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealpost/sealpost/pkg/inbox"
)

// Metrics of a Service.
type Metrics struct {
	messages    *prometheus.CounterVec
	recipients  prometheus.Counter
	unpublished prometheus.Counter
	unconfirmed prometheus.Gauge
	hints       *prometheus.CounterVec
	erased      prometheus.Counter
	notErased   prometheus.Counter
}

// NewMetrics registers the metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		messages: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_messages_accepted_total", Help: "Sends acknowledged, by whether they were new or repeated an earlier one.",
		}, []string{"kind"}),
		recipients: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_messages_inbox_entries_total", Help: "Inbox entries committed by new messages.",
		}),
		unpublished: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_messages_unpublished_events_total",
			Help: "Events of committed messages that the bus did not take; their readers find the messages in the store.",
		}),
		unconfirmed: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_messages_unconfirmed_users",
			Help: "Users whose events the bus has been asked to confirm and has not; at most as many as a hint names.",
		}),
		hints: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_messages_hints_total",
			Help: "Hints to the gateways to look into the store, because the bus may have lost events, by result (sent, failed).",
		}, []string{"result"}),
		erased: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_messages_erased_total", Help: "Messages that had expired and whose contents this node erased.",
		}),
		notErased: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_messages_erase_failures_total", Help: "Times that the contents of expired messages could not be erased; it is tried again.",
		}),
	}
	// Create the series at the start, so that the first event is seen as an increase.
	for _, kind := range []string{"new", "duplicate"} {
		m.messages.WithLabelValues(kind)
	}
	for _, result := range []string{"sent", "failed"} {
		m.hints.WithLabelValues(result)
	}
	return m
}

func (m *Metrics) sent(r inbox.Receipt) {
	if r.Duplicate {
		m.messages.WithLabelValues("duplicate").Inc()
		return
	}
	m.messages.WithLabelValues("new").Inc()
	m.recipients.Add(float64(len(r.Entries)))
}
