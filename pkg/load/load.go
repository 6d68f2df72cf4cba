// Package load puts load on a server and tells what came of it: latencies counted from the moment at which something
// was to happen, throughput, and whether each accepted message arrived once and in order. It encrypts nothing: contents
// and wrapped keys are random text of the right length, which no server can tell from the real thing.
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

	"github.com/sealpost/sealpost/pkg/load/check"
	"github.com/sealpost/sealpost/pkg/load/measure"
	"github.com/sealpost/sealpost/pkg/load/report"
	"github.com/sealpost/sealpost/pkg/load/wire"
)

const (
	callTimeout = 30 * time.Second
	// pollWait is how long polls wait; pollMargin how much longer their answer may take.
	pollWait   = 25 * time.Second
	pollMargin = 15 * time.Second
	// streamSilence is longer than the time between two heartbeats.
	streamSilence = 40 * time.Second
	// pollLimit is what a client asks for that wants few, large answers.
	pollLimit = 1000
)

// Target is the server under load, and the accounts used there.
type Target struct {
	// Servers are URLs of one deployment; users are spread over them.
	Servers []string
	// Metrics are URLs of /metrics of the deployment's processes: what they used is reported.
	Metrics []string
	// Processes are some of this machine: what sends and deliveries cost them is reported.
	Processes []Processes
	// Prefix begins the names of the users; empty for one that is new each time. With a prefix that was used before, the
	// users are logged in instead of registered, if Password is the same.
	Prefix, Password string
	// Progress is where a line about the state of things is written over and over; nil for nowhere.
	Progress io.Writer
}

// bench is what all scenarios stand on.
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

// setting notes what the scenario was run with.
func (b *bench) setting(name string, value any) {
	b.report.Settings = append(b.report.Settings, report.Setting{Name: name, Value: fmt.Sprint(value)})
}

// finish sums up what all scenarios have in common.
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

// outcome is how a send ended: 200 is for one that was repeated after its connection had closed.
func outcome(status int, err error) check.Outcome {
	switch {
	case err != nil, status >= http.StatusInternalServerError:
		return check.Unknown
	case status == http.StatusCreated, status == http.StatusOK:
		return check.Accepted
	}
	return check.Refused
}
