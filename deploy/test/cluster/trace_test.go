package cluster_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/tracing/otlptest"
)

// TestOneTraceLeadsFromASendToTheAnsweredPollAcrossProcesses: it covers what the messages service, its engines and the gateway did for one
// message, each as its own process reported it.
func TestOneTraceLeadsFromASendToTheAnsweredPollAcrossProcesses(t *testing.T) {
	collector := otlptest.New(t)
	r := newRig(t, options{settings: func(string, int) []string {
		return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_BSP_SCHEDULE_DELAY=50", "LOG_LEVEL=debug"}
	}})
	gateway, messages := r.Nodes[cluster.Gateway][0], r.Nodes[cluster.Messages][1]
	alice, bob := r.user("alice"), r.user("bob")
	polled := make(chan int, 1)
	go func() {
		polled <- ask(t, "http://"+gateway.Addr, http.MethodGet, "/api/messages/poll?after=0&wait=60", bob, nil).status
	}()
	until(t, "the poll waits", func() bool { return r.metric(gateway, "sealpost_parking_connections") == 1 })
	send := api.SendRequest{EncryptedContent: "hello", IV: "00", RecipientKeys: map[string]string{"bob": "key"}}
	require.Equal(t, http.StatusCreated, call(t, "http://"+messages.Addr, http.MethodPost, "/api/messages/send", alice, send, nil))
	require.Equal(t, http.StatusOK, <-polled)

	until(t, "the delivery is told of", func() bool { return len(collector.Named("deliver")) == 1 && len(collector.Named("publish")) == 1 })
	deliver := collector.Named("deliver")[0]
	until(t, "the send is told of", func() bool { return len(collector.Named("POST /api/messages/send")) == 1 })
	began := collector.Named("POST /api/messages/send")[0]
	names := map[string]string{}
	for _, s := range collector.Spans() {
		if s.TraceID == deliver.TraceID {
			names[s.Name] = s.Resource["service.name"]
		}
	}
	require.Subset(t, names, map[string]string{
		"POST /api/messages/send": "messages", "look up": "messages", "mongodb find": "messages",
		"inbox prepare": "messages", "inbox commit": "messages", "mongodb insert": "messages", "redis pipeline": "messages",
		"publish": "messages", "deliver": "poll-gateway",
	})
	require.Equal(t, collector.Named("publish")[0].SpanID, deliver.ParentID)
	require.Equal(t, began.TraceID, deliver.TraceID)
	require.NotEqual(t, began.Resource["service.instance.id"], deliver.Resource["service.instance.id"])

	log, err := os.ReadFile(messages.LogFile())
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(log), `"route":"/api/messages/send"`))
	require.Contains(t, string(log), `"trace_id":"`+began.TraceID+`","span_id":"`+began.SpanID+`"`)
}

// TestARoomCarriesTheTraceOfItsSend: a room is the one publication of a message to many, for all gateways.
func TestARoomCarriesTheTraceOfItsSend(t *testing.T) {
	collector := otlptest.New(t)
	r := newRig(t, options{settings: func(string, int) []string {
		return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_BSP_SCHEDULE_DELAY=50"}
	}})
	gateway, messages := r.Nodes[cluster.Gateway][0], r.Nodes[cluster.Messages][1]
	alice := r.user("alice")
	send, readers := api.SendRequest{EncryptedContent: "hello", IV: "00", RecipientKeys: map[string]string{}}, map[string]string{}
	for i := range 16 {
		name := fmt.Sprint("reader", i)
		readers[name], send.RecipientKeys[name] = r.user(name), "key"
	}
	published := func() float64 {
		before := r.metric(messages, "sealpost_bus_published_total")
		require.Equal(t, http.StatusCreated, call(t, "http://"+messages.Addr, http.MethodPost, "/api/messages/send", alice, send, nil))
		return r.metric(messages, "sealpost_bus_published_total") - before
	}
	until(t, "the node has heard of the gateways", func() bool { return published() == 1 })

	polled := make(chan int, 1)
	go func() {
		polled <- ask(t, "http://"+gateway.Addr, http.MethodGet, "/api/messages/poll?after=latest&wait=60", readers["reader7"], nil).status
	}()
	until(t, "the poll waits", func() bool { return r.metric(gateway, "sealpost_parking_connections") == 1 })
	require.InDelta(t, 1, published(), 0)
	require.Equal(t, http.StatusOK, <-polled)
	until(t, "the delivery is told of", func() bool { return len(collector.Named("deliver")) == 1 })
	deliver := collector.Named("deliver")[0]
	until(t, "its publication is told of", func() bool {
		return slices.ContainsFunc(collector.Named("publish"), func(s otlptest.Span) bool {
			return s.SpanID == deliver.ParentID && s.TraceID == deliver.TraceID
		})
	})
}
