package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost/deploy/test/load/report"
)

// scenario is one run of sealpost-load, and the parts of its report that get a row.
type scenario struct {
	name      string
	args      []string
	figures   []string
	latencies []string
	// idle: gateways hold the readers. They are asked directly, and only their usage is reported.
	idle bool
}

// group is deployments of one kind, one of each build, that get the same load in turn.
type group struct {
	*measurement
	kind        string
	deployments []*deployment
}

// openLoopShare is the rate of the open loop as a share of the throughput of the closed loop.
const openLoopShare = 0.1

// part is something to measure on a group that is started for it.
type part struct {
	name string
	// settings are added to those of every node.
	settings []string
	run      func(ctx context.Context, g *group) error
}

// The default parts, and all parts.
const (
	UsualParts = "throughput,park,streams,storm"
	AllParts   = UsualParts + ",inbox,accounts"
)

// parts returns the parts to measure one after another. The memory of an idle poll, and the effect of a storm, are measured on servers that
// have done nothing else.
func parts(o Options) (list []part, err error) {
	all := []part{
		{name: "throughput", run: throughput},
		{"park", maxPolls(o.Polls), parked},
		{"streams", maxPolls(o.Streams), parkedStreams},
		{"storm", []string{fmt.Sprint("MAX_POLLS=", stormPolls)}, storm},
		{"inbox", []string{"RING_EVENTS=1"}, growingInbox}, // else the ring, and not the store, would answer
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

// maxPolls is the setting for n polls, with room for some more.
func maxPolls(n int) []string { return []string{fmt.Sprint("MAX_POLLS=", n+100)} }

// cost is the processor time of the server's own processes and, separately, that of the engines and the load balancer.
var cost = []string{"server CPU a send", "server CPU a delivery", "engines CPU a send", "engines CPU a delivery"}

// flow are the figures of a closed loop that get a row.
var flow = append([]string{"sends accepted", "deliveries", "generator CPU"}, cost...)

// warmup is longer than the counters of new users stay untrusted (deploy/decisions/positions.md): for 3 s each of their sends reads the
// tails of inboxes, which is not a part of the usual cost of a send.
const warmup = "5s"

// throughput measures the rate when senders wait only for their answers, and the latencies at a tenth of that rate.
func throughput(ctx context.Context, g *group) error {
	for _, s := range []struct{ name, command string }{{"20 users to all 20", "deliver"}, {"20 users to one other", "pairs"}} {
		for _, readers := range []string{"polls", "streams"} {
			name := s.name + ", " + readers
			if g.Only != nil && !g.Only.MatchString(name) {
				continue
			}
			args := []string{s.command, "--users", "20", "--size", "512", "--warm-up", warmup, "--duration", g.Duration.String()}
			if readers == "streams" {
				args = append(args, "--streams")
			}
			if err := g.flow(ctx, name, args); err != nil {
				return err
			}
		}
	}
	return nil
}

// flow runs closed loops, and then an open loop at a tenth of the throughput of the last one on the first build.
func (g *group) flow(ctx context.Context, name string, args []string) error {
	var full *report.Report
	for _, n := range g.UnderWay {
		var err error
		full, err = g.load(ctx, scenario{
			name: fmt.Sprintf("%s, %d under way", name, n), args: append(slices.Clone(args), "--concurrency", strconv.Itoa(n)), figures: flow,
		})
		if err != nil {
			return err
		}
	}
	sends, _ := full.Value("sends accepted")
	_, err := g.load(ctx, scenario{
		name: name + ", a tenth of that load", args: append(slices.Clone(args), "--rate", fmt.Sprint(max(1, sends*openLoopShare))),
		figures: cost, latencies: []string{"send", "delivery", "begun late"},
	})
	return err
}

// pollsPerWorker is below the number of files that a process may open.
const pollsPerWorker = 15_000

// parking are the arguments of a scenario with idle polls or streams.
func parking(command string, polls int, more ...string) []string {
	args := []string{command, "--polls", fmt.Sprint(polls), "--processes", fmt.Sprint((polls + pollsPerWorker - 1) / pollsPerWorker), "--patience", "60s", "--hold", "20s"}
	return append(args, more...)
}

// ramp is how long opening that many polls takes.
func ramp(polls int) string { return fmt.Sprint(max(2, polls/2500), "s") }

func parked(ctx context.Context, g *group) error {
	_, err := g.load(ctx, scenario{
		name: fmt.Sprint(g.Polls, " idle polls"), args: parking("park", g.Polls, "--ramp", ramp(g.Polls)),
		figures: []string{"parked, as the server counts", "parked after", "memory a poll"}, latencies: []string{"delivery"}, idle: true,
	})
	return err
}

func parkedStreams(ctx context.Context, g *group) error {
	_, err := g.load(ctx, scenario{
		name: fmt.Sprint(g.Streams, " idle streams"), args: parking("park", g.Streams, "--ramp", ramp(g.Streams), "--streams"),
		figures: []string{"parked, as the server counts", "memory a stream"}, latencies: []string{"delivery"}, idle: true,
	})
	return err
}

// stormPolls come back at once, to a deployment with room for just that many.
const stormPolls = 10_000

func storm(ctx context.Context, g *group) error {
	_, err := g.load(ctx, scenario{
		name: fmt.Sprint(stormPolls, " polls drop within 2 s and come back"), args: parking("storm", stormPolls, "--over", "2s"),
		figures: []string{"parked again, as the server counts", "parked again after", "server memory"}, latencies: []string{"delivery"}, idle: true,
	})
	return err
}

func growingInbox(ctx context.Context, g *group) error {
	var figures []string
	for _, n := range []int{1000, g.Inbox} {
		for _, what := range []string{"sends accepted", "median poll"} {
			figures = append(figures, fmt.Sprintf("%s with %d", what, n))
		}
	}
	_, err := g.load(ctx, scenario{
		name: "an inbox that grows", args: []string{"inbox", "--messages", fmt.Sprint(g.Inbox), "--concurrency", "512", "--polls", "2000"}, figures: figures,
	})
	return err
}

func manyAccounts(ctx context.Context, g *group) error {
	const users = "100"
	for _, accounts := range []string{users, fmt.Sprint(g.Accounts)} {
		if _, err := g.load(ctx, scenario{
			name:    fmt.Sprintf("100 users to one other, of %s accounts", accounts),
			args:    []string{"pairs", "--users", users, "--accounts", accounts, "--concurrency", "512", "--duration", g.Duration.String()},
			figures: flow,
		}); err != nil {
			return err
		}
	}
	return nil
}

// load runs one scenario on each deployment, adds its figures to the table, and returns the first report.
func (g *group) load(ctx context.Context, s scenario) (first *report.Report, err error) {
	s.name = g.kind + ", " + s.name
	for i, d := range g.deployments {
		of := s.name
		if len(g.builds) > 1 {
			of += ", " + g.builds[i].name
		}
		g.say(of)
		r, err := g.run(ctx, d, s.arguments(d), of)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of, err)
		}
		s.rows(i, r, g.table)
		if first == nil {
			first = r
		}
	}
	return first, nil
}

// run runs sealpost-load and reads its report.
func (g *group) run(ctx context.Context, d *deployment, args []string, name string) (r *report.Report, err error) {
	folder, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	file := filepath.Join(folder, "report.json")
	args = append([]string{"--server", d.url, "--json", file}, args...)
	if g.Reports != "" {
		if err := os.MkdirAll(g.Reports, 0o750); err != nil {
			return nil, err
		}
		args = append(args, "--html", filepath.Join(g.Reports, strings.ReplaceAll(name, " ", "-")+".html"))
	}
	if said, err := exec.CommandContext(ctx, filepath.Join(g.Bin, "sealpost-load"), args...).CombinedOutput(); err != nil { //nolint:gosec // ours
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r = &report.Report{}
	return r, json.Unmarshal(text, r)
}

// arguments are those of the load on a deployment.
func (s scenario) arguments(d *deployment) []string {
	args := slices.Clone(s.args)
	if s.idle {
		if len(d.gateways) > 0 {
			args = append(args, "--gateways", strings.Join(d.gateways, ","))
		}
		return append(args, "--metrics", strings.Join(d.gatewayMetrics, ","))
	}
	for _, list := range d.cpu {
		args = append(args, "--cpu", list)
	}
	return append(args, "--metrics", strings.Join(d.metrics, ","))
}

// rows adds the selected figures of a report on a build to the table.
func (s scenario) rows(build int, r *report.Report, t *table) {
	for _, name := range s.figures {
		for _, f := range r.Figures {
			if f.Name == name {
				t.add(build, s.name, f.Name, f.Value, f.Unit)
			}
		}
	}
	for _, name := range s.latencies {
		l := r.Latency(name)
		for _, percent := range []float64{50, 99} {
			t.add(build, s.name, fmt.Sprintf("%s p%g", name, percent), l.At(percent), "ms")
		}
	}
}
