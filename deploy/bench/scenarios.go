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
	"strings"

	"github.com/sealpost/sealpost/pkg/load/report"
)

// scenario is one run of `sealpost load`, and what of its report is worth a row.
type scenario struct {
	name      string
	args      []string
	figures   []string
	latencies []string
}

// openLoopShare of the throughput of the closed loop is the rate of the open one.
const openLoopShare = 0.1

// scenarios puts load on a deployment, one scenario after the other.
func scenarios(ctx context.Context, o Options, d *deployment, t *table, say func(string)) error {
	usage := []string{"server CPU", "generator CPU"}
	lasting := []string{"--duration", o.Duration.String()}
	all, err := d.load(ctx, o, t, say, scenario{
		name: "20 users to all 20, closed loop", args: append([]string{"deliver", "--users", "20"}, lasting...),
		figures: append([]string{"deliveries", "sends accepted"}, usage...), latencies: []string{"send", "delivery"},
	})
	if err != nil {
		return err
	}
	sends, _ := all.Value("sends accepted")
	for _, s := range []scenario{
		{
			name: "20 users to one other, closed loop", args: append([]string{"pairs", "--users", "20", "--concurrency", "128"}, lasting...),
			figures: append([]string{"sends accepted"}, usage...), latencies: []string{"send", "delivery"},
		},
		{
			name: "20 users to all 20, a tenth of that load", figures: append([]string{"deliveries"}, usage...), latencies: []string{"send", "delivery", "begun late"},
			args: append([]string{"deliver", "--users", "20", "--rate", fmt.Sprint(max(1, sends*openLoopShare))}, lasting...),
		},
		{
			name: fmt.Sprint(o.Polls, " idle polls"), args: []string{"park", "--polls", fmt.Sprint(o.Polls)},
			figures: []string{"parked", "parked after", "memory a poll"}, latencies: []string{"delivery"},
		},
	} {
		if _, err := d.load(ctx, o, t, say, s); err != nil {
			return err
		}
	}
	return nil
}

// load runs one scenario and puts its figures into the table.
func (d *deployment) load(ctx context.Context, o Options, t *table, say func(string), s scenario) (_ *report.Report, err error) {
	say(s.name)
	folder, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	file := filepath.Join(folder, "report.json")
	args := append([]string{"--server", d.url, "load"}, s.args...)
	args = append(args, "--metrics", strings.Join(d.metrics, ","), "--json", file)
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
