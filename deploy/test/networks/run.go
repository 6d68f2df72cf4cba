package networks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// leastMessages are sent in each cell; after a trouble, and after a quiet time, some follow.
	leastMessages = 20
	following     = 5
	// pause is the longest time between two messages.
	pause = 400 * time.Millisecond
	// keptOut is the longest time that pkg/api/CLIENTS.md lets a client be kept out after whatever was wrong is over. slack is for a slow
	// machine.
	keptOut = 90 * time.Second
	slack   = 90 * time.Second
	// patience is how long a client may get nothing, although something waits for it, before the cell fails.
	patience = keptOut + slack
	// defaultWait is how long a poll asks to wait.
	defaultWait = 25 * time.Second
)

// Result is what became of a cell.
type Result struct {
	Verdict
	// Skipped is why the cell did not run.
	Skipped string
	// Faults are empty if everything went well. Said is the end of what the client complained of.
	Faults []string
	Said   string
}

// cell is one client on one path, at work.
type cell struct {
	lab    *Lab
	path   Path
	client Client
	judge  *Judge
	link   Link
	// self is the client's account, peer that of the one it sends to.
	self, peer account
	process    *process
	// reported is called with what the client reports.
	reported func(r Report)
}

// Run runs one cell. The error means that the lab itself has failed.
func (l *Lab) Run(ctx context.Context, p Path, c Client) (result Result, err error) {
	if why := l.missing(append(p.Needs, c.Needs...)); why != "" {
		return Result{Skipped: why}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	link, end, err := l.open(ctx, p)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, end()) }()
	x := &cell{lab: l, path: p, client: c, judge: NewJudge(), link: link}
	if err := x.start(ctx); err != nil {
		return result, err
	}
	defer x.process.stop()
	faults, err := x.play(ctx)
	if err != nil {
		return result, err
	}
	result.Verdict = x.judge.Verdict()
	result.Faults = slices.Concat(faults, result.Verdict.Faults(c.AtLeastOnce))
	result.Said = x.process.stderr.String()
	return result, nil
}

// open starts the proxies of a path and makes the link to them.
func (l *Lab) open(ctx context.Context, p Path) (link Link, end func() error, err error) {
	port, stop, err := l.chain(ctx, p.Hops)
	if err != nil {
		return nil, nil, err
	}
	link, err = OpenLink(ctx, l.Links, port, p.Shape)
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return link, func() error { return errors.Join(link.Close(), stop()) }, nil
}

// start makes the account and starts the client.
func (x *cell) start(ctx context.Context) (err error) {
	if x.self, err = x.lab.newAccount(ctx, x.client.CommandLine); err != nil {
		return err
	}
	x.reported = func(r Report) { x.judge.Received(r.Text, time.Now()) }
	if x.client.Sends {
		if x.peer, err = x.lab.newAccount(ctx, false); err != nil {
			return err
		}
		x.reported = x.sent
	}
	wait := x.path.Wait
	if wait == 0 {
		wait = defaultWait
	}
	target := Target{URL: "http://" + x.link.Address(), Self: x.self, Peer: x.peer.name, Wait: wait}
	if x.client.CommandLine {
		if err := x.self.moveProfile(target.URL); err != nil {
			return err
		}
	}
	program, args, environ := x.client.command(x.lab, target)
	cmd := exec.Command(program, args...) //nolint:gosec,noctx // a client of the table; stop ends it
	cmd.Env, cmd.Dir = append(cmd.Environ(), environ...), x.self.home
	if x.client.CommandLine {
		if _, err := cmd.StdinPipe(); err != nil { // an input that does not end
			return err
		}
	}
	if err := x.link.Place(cmd); err != nil {
		return err
	}
	x.process, err = startProcess(cmd, func(line string) {
		if r, found := x.client.report(line); found {
			x.reported(r)
		}
	})
	return err
}

// sent takes the report of a client that sends.
func (x *cell) sent(r Report) {
	if r.Sending {
		x.judge.Sending(r.Text)
		return
	}
	x.judge.Acknowledged(r.Text, time.Now())
}

// play sends until the trouble is over, waits until everything has come, and returns what went wrong.
func (x *cell) play(ctx context.Context) (faults []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	var running errgroup.Group
	if x.client.Sends {
		running.Go(func() error { return x.collect(ctx) })
	} else {
		running.Go(func() error { return x.send(ctx, over) })
	}
	// The trouble begins when the client has begun to get on: before, there would be nothing to disturb.
	fault := x.await(ctx, func() bool { _, received, _ := x.judge.Progress(); return received >= following })
	if fault == "" && x.path.Trouble != nil {
		err = x.path.Trouble(ctx, Scene{Link: x.link, client: x.process})
	}
	close(over)
	if fault == "" && err == nil {
		fault = x.await(ctx, x.complete(over))
	}
	cancel()
	if failed := running.Wait(); failed != nil && !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	if fault != "" {
		faults = append(faults, fault)
	}
	return faults, err
}

// complete returns a condition: enough was sent, some of it since now, and all has come.
func (x *cell) complete(over <-chan struct{}) func() bool {
	<-over
	before, _, _ := x.judge.Progress()
	return func() bool {
		acknowledged, received, _ := x.judge.Progress()
		return acknowledged >= max(leastMessages, before+following) && received >= acknowledged
	}
}

// await waits for a condition that holds at the latest when something was received or acknowledged. It returns what is wrong if nothing is
// received any more, or the client ends.
func (x *cell) await(ctx context.Context, condition func() bool) string {
	before, lost := -1, time.Time{}
	for {
		_, received, changed := x.judge.Progress()
		if condition() {
			return ""
		}
		if received > before {
			before, lost = received, time.Now().Add(patience)
		}
		select {
		case <-changed:
		case <-x.process.done:
			return fmt.Sprintf("the client ended: %v", x.process.err)
		case <-time.After(time.Until(lost)):
			return fmt.Sprintf("nothing came for %s", patience)
		case <-ctx.Done():
			return ctx.Err().Error()
		}
	}
}

// begun waits until the client has received something.
func (x *cell) begun(ctx context.Context) error {
	for {
		_, received, changed := x.judge.Progress()
		if received > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends to the client, over the clean path, until the trouble is over and enough was sent. After the first messages it waits until the
// client has begun: a chat that begins late would show the latest of them before the others.
func (x *cell) send(ctx context.Context, over <-chan struct{}) error {
	after := 0 // how many were sent after the trouble
	for n := 0; n < leastMessages || after < following+1; n++ {
		select {
		case <-over:
			after++
		default:
		}
		if n == following {
			if err := x.begun(ctx); err != nil {
				return err
			}
		}
		text := fmt.Sprint("m", n)
		x.judge.Sending(text)
		if err := x.lab.send(ctx, x.self, x.self.name+text, text, x.client.Sealed); err != nil {
			return err
		}
		x.judge.Acknowledged(text, time.Now())
		between := rand.N(pause)
		if n%following == following-1 {
			between += x.path.Quiet
		}
		if err := wait(ctx, between); err != nil {
			return err
		}
	}
	return nil
}

// collect reads, over the clean path, what the client sends.
func (x *cell) collect(ctx context.Context) error {
	after := "0"
	for {
		p, err := x.peer.api.Poll(ctx, after, 100, defaultWait)
		if err != nil {
			return err
		}
		for _, m := range p.Messages {
			x.judge.Received(m.EncryptedContent, time.Now())
		}
		after = p.Cursor
	}
}
