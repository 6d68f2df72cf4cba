// Package load puts load on a server and reports latencies counted from the scheduled moment, throughput, and whether each accepted message
// arrived once and in order. It encrypts nothing: contents and wrapped keys are random text of the right length, which no server can tell
// from real ones.
package load

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/report"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
)

const (
	callTimeout = 30 * time.Second
	// pollWait is how long polls wait; pollMargin how much longer their answer may take.
	pollWait   = 25 * time.Second
	pollMargin = 15 * time.Second
	// streamSilence is longer than the time between two heartbeats.
	streamSilence = 40 * time.Second
	// pollLimit is what a client requests that wants few, large answers.
	pollLimit = 1000
)

// Target is the server under load, and the accounts used there.
type Target struct {
	// Servers are URLs of one deployment; users are spread over them.
	Servers []string
	// Metrics are URLs of /metrics of the deployment's processes, whose usage is reported.
	Metrics []string
	// Processes are processes of this machine; their cost of sends and deliveries is reported.
	Processes []Processes
	// Prefix is the prefix of the users' names; empty for a new one each time. With a prefix that was used before, the users are logged in
	// instead of registered, if Password is the same.
	Prefix, Password string
	// Progress gets a progress line again and again; nil for none.
	Progress io.Writer
}

// bench is what all scenarios share.
type bench struct {
	Target
	servers []*wire.Server
	tally   *tally
	metrics *scraper
	report  report.Report
}

func newBench(t Target, scenario string) (*bench, error) {
	if len(t.Servers) == 0 {
		return nil, errors.New("there is no server to put load on")
	}
	b := &bench{Target: t, tally: newTally(), metrics: &scraper{urls: t.Metrics}}
	for _, text := range t.Servers {
		s, err := wire.Parse(text)
		if err != nil {
			return nil, err
		}
		b.servers = append(b.servers, s)
	}
	if b.Prefix == "" {
		b.Prefix = "ld" + hex.EncodeToString(binaryOf(rand.Uint32())) + "_"
	}
	b.report = report.Report{Scenario: scenario, Target: t.Servers, Started: time.Now().UTC()}
	return b, nil
}

func binaryOf(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

func (b *bench) server(i int) *wire.Server { return b.servers[i%len(b.servers)] }

// setting records a setting of the run.
func (b *bench) setting(name string, value any) {
	b.report.Settings = append(b.report.Settings, report.Setting{Name: name, Value: fmt.Sprint(value)})
}

// finish completes the report with what all scenarios have in common.
func (b *bench) finish(ctx context.Context, began time.Time, v *check.Verdict, series ...*measure.Series) (*report.Report, error) {
	b.report.Seconds = time.Since(began).Seconds()
	for _, s := range series {
		if s.Count() > 0 {
			b.report.Latencies = append(b.report.Latencies, s.Summary())
		}
	}
	b.report.Statuses = b.tally.counts()
	b.report.Check = v
	if err := b.metrics.usage(ctx, &b.report); err != nil {
		return nil, err
	}
	return &b.report, nil
}

// outcome is the result of a send: 200 answers one that was repeated after its connection closed.
func outcome(status int, err error) check.Outcome {
	switch {
	case err != nil, status >= http.StatusInternalServerError:
		return check.Unknown
	case status == http.StatusCreated, status == http.StatusOK:
		return check.Accepted
	}
	return check.Refused
}
