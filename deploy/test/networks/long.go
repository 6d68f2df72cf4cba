package networks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Usage is what a process holds.
type Usage struct {
	At time.Duration
	// Memory is in bytes.
	Memory int64
	// Descriptors is how many files and connections are open.
	Descriptors int
}

// usageOf looks at a process.
func usageOf(pid int) (u Usage, err error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, err
	}
	u.Descriptors = len(open)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return u, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return u, fmt.Errorf("statm: %q", text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	u.Memory = pages * int64(os.Getpagesize())
	return u, err
}

// CrowdResult is what an hour of the crowd showed.
type CrowdResult struct {
	CrowdReport
	Usage []Usage
	Said  string
}

// RunCrowd runs the crowd on the worst path for a time, with every trouble there is, and looks at the server meanwhile.
func (l *Lab) RunCrowd(ctx context.Context, lasts time.Duration) (result CrowdResult, err error) {
	bad := new(atomic.Bool)
	p := worst(bad)
	if why := l.missing(p.Needs); why != "" {
		return result, errors.New(why)
	}
	link, end, err := l.open(ctx, p)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, end()) }()
	program, _, environ := helper(helpCrowd)(l, Target{URL: "http://" + link.Address()})
	cmd := exec.Command(program) //nolint:gosec,noctx // this program; stop ends it
	cmd.Env = append(cmd.Environ(), environ...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return result, err
	}
	if err := link.Place(cmd); err != nil {
		return result, err
	}
	reports, enough := make(chan CrowdReport), make(chan struct{})
	crowd, err := startProcess(cmd, func(line string) {
		var r CrowdReport
		if json.Unmarshal([]byte(line), &r) == nil {
			select {
			case reports <- r:
			case <-enough: // nobody listens any more
			}
		}
	})
	if err != nil {
		return result, err
	}
	defer crowd.stop()
	defer close(enough)
	h := hour{lab: l, lasts: lasts, scene: Scene{Link: link, client: crowd}, in: in, reports: reports, bad: bad, result: &result}
	err = h.run(ctx)
	result.Said = crowd.stderr.String()
	return result, err
}

// hour is a run of the crowd.
type hour struct {
	lab   *Lab
	lasts time.Duration
	scene Scene
	// in is the crowd's input; reports are what it prints.
	in      io.Writer
	reports <-chan CrowdReport
	// bad makes the lab's own proxies bad.
	bad    *atomic.Bool
	result *CrowdResult
}

// run starts the crowd, lets troubles come over it until the time is up, and waits for its verdict. The path becomes bad when everybody is
// registered: a registration that a proxy repeats is refused.
func (h hour) run(ctx context.Context) error {
	began := time.Now()
	troubled, ended := context.WithTimeout(ctx, h.lasts)
	defer ended()
	var running errgroup.Group
	running.Go(func() error { return h.lab.watch(troubled, began, h.result) })
	running.Go(func() error { return troubles(troubled, h.lasts, h.scene) })
	// The crowd may be silent for as long as it sleeps.
	silence := patience + sleepPart(h.lasts)
	told := false
	for {
		select {
		case r := <-h.reports:
			h.result.CrowdReport = r
			switch {
			case r.Verdict != "":
				return running.Wait()
			case r.Ready:
				h.bad.Store(true)
				_, _ = fmt.Fprintln(h.in, "start")
			case !told && troubled.Err() != nil:
				told = true
				_, _ = fmt.Fprintln(h.in, "end")
				silence = 10 * patience // it says nothing until everybody has read everything
			}
		case <-h.scene.client.done:
			ended()
			return errors.Join(fmt.Errorf("the crowd ended: %w", h.scene.client.err), running.Wait())
		case <-time.After(silence):
			ended()
			_ = running.Wait()
			return fmt.Errorf("the crowd said nothing for %s", silence)
		}
	}
}

// usageEvery is the time between two looks at the server.
const usageEvery = 15 * time.Second

// watch looks at the server until ctx ends.
func (l *Lab) watch(ctx context.Context, began time.Time, result *CrowdResult) error {
	pid, err := l.ServerPid()
	if err != nil {
		return err
	}
	for wait(ctx, usageEvery) == nil {
		u, err := usageOf(pid)
		if err != nil {
			return err
		}
		u.At = time.Since(began)
		result.Usage = append(result.Usage, u)
	}
	return nil
}

// sleepPart is how long the crowd sleeps: 10 minutes of an hour.
func sleepPart(lasts time.Duration) time.Duration { return lasts / 6 }

// troubles come one after another, with some time between them, until ctx ends. In the middle the crowd sleeps for long.
func troubles(ctx context.Context, lasts time.Duration, s Scene) error {
	const between = 30 * time.Second
	list := []Trouble{Silent(true, false, between), Moves(2, 5*time.Second), Silent(false, true, between), Sleeps(10 * time.Second)}
	middle, slept := time.Now().Add(lasts/3), false
	for i := 0; ; i++ {
		if wait(ctx, between) != nil {
			return nil //nolint:nilerr // its end is how it is meant to end
		}
		next := list[i%len(list)]
		if !slept && time.Now().After(middle) {
			slept, next = true, Sleeps(sleepPart(lasts))
		}
		// A trouble that has begun is ended, also when the time is up.
		if err := next(context.WithoutCancel(ctx), s); err != nil {
			return err
		}
	}
}
