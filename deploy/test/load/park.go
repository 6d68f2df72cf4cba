package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/fleet"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/report"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
	"github.com/sealpost/sealpost/pkg/api"
)

const (
	// pollsPerUser is below what a server allows one user.
	pollsPerUser = 50
	// pollsPerSource is far below the ports of an address: finding one of the last free ports takes the system long.
	pollsPerSource = 4_000
	// again is how long to wait for an unexpected repeat of a message.
	again = 500 * time.Millisecond
	// parkWait is how long idle polls wait: the longest that the API allows.
	parkWait = api.MaxPollWaitSeconds * time.Second
)

// Park is the scenario with many idle polls; with a Storm, all of them drop and come back.
type Park struct {
	Target
	Polls int
	// Streams replaces the polls by as many streams.
	Streams bool
	// Gateways are URLs of the servers that hold the polls; Servers if empty.
	Gateways []string
	// Users share the polls; 0 means up to fifty polls each. Probes of them are sent a message each.
	Users, Probes int
	// Processes hold the polls, from Sources addresses 127.0.0.x; 0 for as many as the number of ports requires.
	Processes, Sources int
	// Ramp is how long opening all polls takes; Hold is how long the server is idle before its memory is read, without the polls and with
	// them.
	Ramp, Hold time.Duration
	// Storm is the time within which all polls drop; 0 for no storm.
	Storm time.Duration
	// Patience is how long to wait until all polls are parked, or a message has arrived.
	Patience time.Duration
	// Worker is the command line of a worker process, which calls fleet.Work.
	Worker []string
}

func (p *Park) validate() error {
	switch {
	case p.Polls < 1 || p.Processes < 1 || p.Processes > p.Polls || p.Users < 0 || p.Probes < 1 || p.Sources < 0 || p.Sources > 250:
		return errors.New("polls, processes and probes must be positive, processes no more than polls, sources at most 250")
	case p.Ramp < 0 || p.Hold < 0 || p.Storm < 0 || p.Patience <= 0:
		return errors.New("ramp, hold and storm must not be negative, and patience must be positive")
	case len(p.Worker) == 0:
		return errors.New("there is no command for workers")
	}
	return nil
}

// parking is a Park scenario in progress.
type parking struct {
	p         *Park
	b         *bench
	users     []user
	positions []int64
	run       *check.Run
	fleet     *fleet.Fleet
	delivery  *measure.Series
	phase     atomic.Pointer[string]
	status    *wire.Conn
}

// Run runs the scenario.
func (p *Park) Run(ctx context.Context, scenario string) (*report.Report, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	b, err := newBench(p.Target, scenario)
	if err != nil {
		return nil, err
	}
	g := &parking{p: p, b: b}
	if len(p.Gateways) == 0 {
		p.Gateways = p.Servers
	}
	if p.Users == 0 {
		p.Users = max(2, (p.Polls+pollsPerUser-1)/pollsPerUser)
	}
	p.Users = min(p.Users, p.Polls)
	p.Probes = min(p.Probes, p.Users)
	g.describe()
	if err := g.prepare(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	g.delivery = measure.NewSeries("delivery", began)
	defer g.status.Close()
	if err := g.hold(ctx); err != nil {
		return nil, err
	}
	v := g.run.Judge()
	return b.finish(ctx, began, &v, g.delivery)
}

func (g *parking) describe() {
	g.b.setting(readingBy(g.p.Streams), g.p.Polls)
	g.b.setting("users", g.p.Users)
	g.b.setting("processes", g.p.Processes)
	if g.p.Storm > 0 {
		g.b.setting("storm", g.p.Storm)
	}
}

// prepare opens the accounts.
func (g *parking) prepare(ctx context.Context) (err error) {
	if g.users, err = g.b.users(ctx, g.p.Users); err != nil {
		return err
	}
	if g.positions, err = g.b.heads(ctx, g.users); err != nil {
		return err
	}
	g.run = check.NewRun(rand.Uint32(), g.p.Polls)
	for i := range g.p.Polls {
		g.run.Reader(i).Start(g.positions[i%len(g.users)])
	}
	g.status = wire.NewConn(g.b.server(0), "")
	// The memory before is read from a server as idle as it will be with the polls: opening the accounts leaves garbage.
	if len(g.p.Metrics) > 0 && !measure.Until(ctx, measure.StoppedTimer(), time.Now().Add(g.p.Hold)) {
		return ctx.Err()
	}
	return g.b.metrics.begin(ctx)
}

// hold opens the polls and runs the steps of the scenario on them.
func (g *parking) hold(ctx context.Context) (err error) {
	g.enter("")
	before := g.b.metrics.before.serverMemory
	began := time.Now()
	var errOut syncBuffer
	g.fleet, err = fleet.Start(ctx, fleet.Options{
		Command: g.p.Worker, Processes: g.p.Processes, Job: g.job(), Took: g.took, Errors: &errOut,
		Counted: func(status string, n int64) { g.b.tally.add(*g.phase.Load()+status, n) },
	})
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, g.fleet.Close()); err != nil {
			err = fmt.Errorf("%w %s", err, errOut.String())
		}
	}()
	stop := g.b.watch(func() string { return fmt.Sprintf("%d of %d parked", g.fleet.State().Parked, g.p.Polls) })
	defer stop()
	if err := g.parked(ctx, began, "parked", 0); err != nil {
		return err
	}
	if err := g.memory(ctx, before); err != nil {
		return err
	}
	if g.p.Storm > 0 {
		if err := g.storm(ctx); err != nil {
			return err
		}
	}
	return g.probe(ctx)
}

func (g *parking) enter(phase string) { g.phase.Store(&phase) }

func (g *parking) job() fleet.Job {
	job := fleet.Job{Servers: g.p.Gateways, Polls: g.p.Polls, Streams: g.p.Streams, Wait: parkWait, Ramp: g.p.Ramp}
	for _, u := range g.users {
		job.Users = append(job.Users, fleet.User{Token: u.token, Cursor: u.cursor})
	}
	n := g.p.Sources
	if n == 0 {
		n = (g.p.Polls + pollsPerSource - 1) / pollsPerSource
	}
	local := n > 1
	for _, text := range g.p.Gateways {
		s, err := wire.Parse(text)
		local = local && err == nil && s.Loopback()
	}
	for i := range n {
		if local {
			job.Sources = append(job.Sources, fmt.Sprintf("127.0.0.%d", i+1))
		}
	}
	return job
}

// parked waits until all polls are parked, both for the clients and for the server.
func (g *parking) parked(ctx context.Context, began time.Time, what string, drops int64) error {
	waiting, cancel := context.WithTimeout(ctx, g.p.Patience+g.p.Ramp+g.p.Storm)
	defer cancel()
	known := int64(0)
	err := g.fleet.Until(waiting, func(s fleet.State) bool {
		if s.Dropped < drops || s.Parked < g.p.Polls {
			return false
		}
		if n, err := g.open(waiting); err == nil {
			known = n
		}
		return known >= int64(g.p.Polls)
	})
	if ctx.Err() != nil || errors.Is(err, fleet.ErrWorkerEnded) {
		return errors.Join(err, ctx.Err())
	}
	s := g.fleet.State()
	g.b.report.Figure(what, float64(s.Parked), readingBy(g.p.Streams))
	g.b.report.Figure(what+", as the server counts", float64(known), readingBy(g.p.Streams))
	g.b.report.Figure(what+" after", s.Last.Sub(began).Seconds(), "s")
	if err != nil {
		g.b.report.Fault("%s: only %d of %d %s, the server counts %d, after %s", what, s.Parked, g.p.Polls, readingBy(g.p.Streams), known, g.p.Patience)
	}
	return nil
}

// open asks how many polls are open in the deployment.
func (g *parking) open(ctx context.Context) (int64, error) {
	a, err := g.status.Do(ctx, wire.Request{Method: http.MethodGet, Path: "/api/messages/status", Token: g.users[0].token, Timeout: callTimeout})
	if err != nil {
		return 0, err
	}
	if a.Status != http.StatusOK {
		return 0, fmt.Errorf("status %d", a.Status)
	}
	var s api.StatusResponse
	err = json.Unmarshal(a.Body, &s)
	return s.Stats.ActiveConnections, err
}

// memory reports the memory that an idle poll takes.
func (g *parking) memory(ctx context.Context, before float64) error {
	if len(g.p.Metrics) == 0 {
		return nil
	}
	if !measure.Until(ctx, measure.StoppedTimer(), time.Now().Add(g.p.Hold)) {
		return ctx.Err()
	}
	u, err := g.b.metrics.read(ctx)
	if err != nil {
		return err
	}
	g.b.report.Figure("memory before", before/(1<<20), "MiB")
	g.b.report.Figure("memory parked", u.serverMemory/(1<<20), "MiB")
	g.b.report.Figure("memory a "+strings.TrimSuffix(readingBy(g.p.Streams), "s"), (u.serverMemory-before)/float64(g.p.Polls), "bytes")
	return nil
}

func (g *parking) storm(ctx context.Context) error {
	g.enter("after the storm: ")
	began := time.Now()
	if err := g.fleet.Storm(g.p.Storm); err != nil {
		return err
	}
	return g.parked(ctx, began, "parked again", int64(g.p.Polls))
}

// took processes an answer to a poll of a worker.
func (g *parking) took(a fleet.Arrival) {
	if a.Poll < 0 || a.Poll >= g.p.Polls {
		return
	}
	g.run.Reader(a.Poll).Take(a.Messages, a.Skipped, a.Position)
	at := time.Unix(0, a.At)
	for _, m := range a.Messages {
		if m.Stamp.Run == g.run.ID {
			g.delivery.Record(at, at.Sub(time.Unix(0, m.Stamp.At)))
		}
	}
}

// probe sends a message to some of the users, one after another: the next when all polls of the one before have it.
func (g *parking) probe(ctx context.Context) error {
	g.enter("after the sends: ")
	s := &senders{b: g.b, run: g.run, accepted: measure.NewSeries("send", time.Now()), from: time.Now()}
	one := newSender(s, 0)
	defer one.conn.Close()
	for i := range g.p.Probes {
		l, err := newLetter(g.users, (i+1)%len(g.users), []int{i}, 400)
		if err != nil {
			return err
		}
		if l.to = nil; ctx.Err() != nil {
			return ctx.Err()
		}
		for poll := i; poll < g.p.Polls; poll += len(g.users) {
			l.to = append(l.to, poll)
		}
		one.send(ctx, l, time.Now())
		if there, err := g.arrived(ctx); err != nil {
			return err
		} else if !there {
			break // the judge reports what is missing
		}
	}
	measure.Until(ctx, measure.StoppedTimer(), time.Now().Add(again))
	return ctx.Err()
}

// arrived waits, for at most the patience, until every message has arrived.
func (g *parking) arrived(ctx context.Context) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, g.p.Patience)
	defer cancel()
	err := g.fleet.Until(waiting, func(fleet.State) bool { return g.run.Outstanding() <= 0 })
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// syncBuffer keeps the beginning of the workers' error output.
type syncBuffer struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*syncBuffer)(nil)

// Write implements io.Writer.
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p[:min(len(p), max(0, 4096-len(b.text)))]...)
	return len(p), nil
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// OwnWorker is the command that runs this program with other arguments.
func OwnWorker(args ...string) ([]string, error) {
	self, err := os.Executable()
	return append([]string{self}, args...), err
}
