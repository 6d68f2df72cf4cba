package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/pkg/load/report"
)

// scenario is one run of `sealpost load`, and what of its report is worth a row.
type scenario struct {
	name      string
	args      []string
	figures   []string
	latencies []string
	// metrics are those of the processes whose use is told; nil for all.
	metrics []string
}

// openLoopShare of the throughput of the closed loop is the rate of the open one.
const openLoopShare = 0.1

// part is what is measured on one deployment, started for it.
type part struct {
	name string
	// settings are added to those of every node.
	settings []string
	run      func(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error
}

// The parts that are run if nothing else is asked for, and all that there are.
const (
	UsualParts = "throughput,park,streams,storm"
	AllParts   = UsualParts + ",inbox,accounts"
)

// parts are measured one after the other. What an idle poll or stream takes, and what a storm does, is seen on servers that have
// done nothing else.
func parts(o Options) (list []part, err error) {
	all := []part{
		{name: "throughput", run: throughput},
		{"park", []string{fmt.Sprint("MAX_POLLS=", o.Polls+100)}, parked},
		{"streams", []string{fmt.Sprint("MAX_POLLS=", o.Polls+100)}, heldStreams},
		{"storm", []string{fmt.Sprint("MAX_POLLS=", stormPolls)}, storm},
		{"inbox", []string{"RING_EVENTS=1"}, growingInbox}, // else the ring would answer what the store is to be asked
		{name: "accounts", run: manyAccounts},
	}
	for name := range strings.SplitSeq(o.Parts, ",") {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q: there are %s", name, AllParts)
		}
		list = append(list, all[i])
	}
	return list, nil
}

var usage = []string{"server CPU", "generator CPU"}

// throughput is what goes through when senders wait for nothing but their answers, and how long it takes at a tenth of
// that.
func throughput(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	lasting := []string{"--users", "20", "--duration", o.Duration.String()}
	for _, s := range []struct{ name, command, concurrency string }{
		{"20 users to all 20", "deliver", "128"}, {"20 users to one other", "pairs", "512"},
	} {
		full, err := d.load(ctx, o, t, say, scenario{
			name: s.name + ", closed loop", args: append([]string{s.command, "--concurrency", s.concurrency}, lasting...),
			figures: append([]string{"deliveries", "sends accepted"}, usage...), latencies: []string{"send", "delivery"},
		})
		if err != nil {
			return err
		}
		sends, _ := full.Value("sends accepted")
		if _, err := d.load(ctx, o, t, say, scenario{
			name:    s.name + ", a tenth of that load",
			args:    append([]string{s.command, "--rate", fmt.Sprint(max(1, sends*openLoopShare))}, lasting...),
			figures: append([]string{"deliveries"}, usage...), latencies: []string{"send", "delivery", "begun late"},
		}); err != nil {
			return err
		}
	}
	return nil
}

// pollsPerWorker stays below the files that a process may have open.
const pollsPerWorker = 15_000

// parking are the arguments of a scenario with idle polls.
func (d *deployment) parking(command string, polls int, more ...string) []string {
	args := []string{command, "--polls", fmt.Sprint(polls), "--processes", fmt.Sprint((polls + pollsPerWorker - 1) / pollsPerWorker), "--patience", "60s", "--hold", "20s"}
	if len(d.gateways) > 0 {
		args = append(args, "--gateways", strings.Join(d.gateways, ","))
	}
	return append(args, more...)
}

func parked(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	_, err := d.load(ctx, o, t, say, scenario{
		name: fmt.Sprint(o.Polls, " idle polls"), args: d.parking("park", o.Polls, "--ramp", fmt.Sprint(max(2, o.Polls/2500), "s")),
		figures: []string{"parked, as the server counts", "parked after", "memory a poll"}, latencies: []string{"delivery"}, metrics: d.gatewayMetrics,
	})
	return err
}

func heldStreams(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	_, err := d.load(ctx, o, t, say, scenario{
		name: fmt.Sprint(o.Polls, " idle streams"), args: d.parking("park", o.Polls, "--streams", "--ramp", fmt.Sprint(max(2, o.Polls/2500), "s")),
		figures: []string{"parked, as the server counts", "parked after", "memory a stream"}, latencies: []string{"delivery"}, metrics: d.gatewayMetrics,
	})
	return err
}

// stormPolls come back at once, to a deployment that has room for just as many.
const stormPolls = 10_000

func storm(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	_, err := d.load(ctx, o, t, say, scenario{
		name: fmt.Sprint(stormPolls, " polls drop within 2 s and come back"), args: d.parking("storm", stormPolls, "--over", "2s"),
		figures: []string{"parked again, as the server counts", "parked again after", "server memory"}, latencies: []string{"delivery"}, metrics: d.gatewayMetrics,
	})
	return err
}

func growingInbox(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	var figures []string
	for _, n := range []int{1000, o.Inbox} {
		for _, what := range []string{"sends accepted", "median poll"} {
			figures = append(figures, fmt.Sprintf("%s with %d", what, n))
		}
	}
	_, err := d.load(ctx, o, t, say, scenario{
		name: "an inbox that grows", args: []string{"inbox", "--messages", fmt.Sprint(o.Inbox), "--concurrency", "512", "--polls", "2000"}, figures: figures,
	})
	return err
}

func manyAccounts(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	const users = "100"
	for _, accounts := range []string{users, fmt.Sprint(o.Accounts)} {
		if _, err := d.load(ctx, o, t, say, scenario{
			name:    fmt.Sprintf("100 users to one other, of %s accounts", accounts),
			args:    []string{"pairs", "--users", users, "--accounts", accounts, "--concurrency", "512", "--duration", o.Duration.String()},
			figures: append([]string{"sends accepted"}, usage...),
		}); err != nil {
			return err
		}
	}
	return nil
}

// load runs one scenario and puts its figures into the table.
func (d *deployment) load(ctx context.Context, o Options, t *table, say func(string), s scenario) (_ *report.Report, err error) {
	s.name = d.name + ", " + s.name
	say(s.name)
	folder, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	file := filepath.Join(folder, "report.json")
	args := append([]string{"--server", d.url, "load"}, s.args...)
	args = append(args, "--metrics", strings.Join(s.processes(d), ","), "--json", file)
	if o.Reports != "" {
		if err := os.MkdirAll(o.Reports, 0o750); err != nil {
			return nil, err
		}
		args = append(args, "--html", filepath.Join(o.Reports, strings.ReplaceAll(s.name, " ", "-")+".html"))
	}
	cmd := exec.CommandContext(ctx, filepath.Join(o.Bin, "sealpost"), args...) //nolint:gosec // ours
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", s.name, err, said.Bytes())
	}
	r := &report.Report{}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return nil, err
	}
	s.rows(r, t)
	return r, nil
}

func (s scenario) processes(d *deployment) []string {
	if s.metrics != nil {
		return s.metrics
	}
	return d.metrics
}

func (s scenario) rows(r *report.Report, t *table) {
	for _, f := range r.Figures {
		for _, wanted := range s.figures {
			if f.Name == wanted {
				t.add(s.name+": "+f.Name, f.Value, f.Unit)
			}
		}
	}
	for _, name := range s.latencies {
		l := r.Latency(name)
		for _, percent := range []float64{50, 99, 99.9} {
			t.add(fmt.Sprintf("%s: %s p%g", s.name, name, percent), l.At(percent), "ms")
		}
	}
}
