package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
)

// Processes are processes of this machine, reported under one name.
type Processes struct {
	Name string
	PIDs []int
}

// ParseProcesses parses NAME=PID,PID…
func ParseProcesses(text string) (Processes, error) {
	name, list, _ := strings.Cut(text, "=")
	p := Processes{Name: name}
	for field := range strings.SplitSeq(list, ",") {
		pid, err := strconv.Atoi(field)
		if err != nil || pid < 1 || name == "" {
			return p, fmt.Errorf("%q is not NAME=PID,PID", text)
		}
		p.PIDs = append(p.PIDs, pid)
	}
	return p, nil
}

// reading is what had been sent and delivered, and the time that each of the Processes had used for it, up to a moment.
type reading struct {
	sends, deliveries int64
	used              []time.Duration
	err               error
}

// readingAt takes a reading at a moment.
func (b *bench) readingAt(ctx context.Context, run *check.Run, at time.Time) <-chan reading {
	read := make(chan reading, 1)
	go func() {
		if !measure.Until(ctx, measure.StoppedTimer(), at) {
			read <- reading{err: ctx.Err()}
			return
		}
		read <- b.reading(run)
	}()
	return read
}

// cost reports the processor time of the processes since a reading, divided by the sends and the deliveries since. All that was sent should
// have arrived by now: else a server that delivers late would seem to be cheap.
func (b *bench) cost(run *check.Run, before <-chan reading) error {
	first, last := <-before, b.reading(run)
	if err := errors.Join(first.err, last.err); err != nil {
		return err
	}
	b.reportCost(first, last)
	return nil
}

func (b *bench) reading(run *check.Run) reading {
	r := reading{sends: run.Accepted(), deliveries: run.Arrived()}
	if len(b.Processes) == 0 {
		return r
	}
	all, err := processes()
	r.err = err
	for _, p := range b.Processes {
		used, missing := all.used(p.PIDs)
		r.err = errors.Join(r.err, missing)
		r.used = append(r.used, used)
	}
	return r
}

func (b *bench) reportCost(before, after reading) {
	sends, deliveries := after.sends-before.sends, after.deliveries-before.deliveries
	for i, p := range b.Processes {
		micros := float64((after.used[i] - before.used[i]).Microseconds())
		if sends > 0 {
			b.report.Figure(p.Name+" CPU a send", micros/float64(sends), "µs")
		}
		if deliveries > 0 {
			b.report.Figure(p.Name+" CPU a delivery", micros/float64(deliveries), "µs")
		}
	}
}

// tick is the unit of processor time in /proc (USER_HZ, the same on every Linux).
const tick = 10 * time.Millisecond

// process is the data of one process in /proc: used is its own time and that of its ended children.
type process struct {
	pid, parent int
	used        time.Duration
}

// procs are all processes of a machine.
type procs []process

// processes reads the processes of this machine.
func processes() (procs, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err == nil && len(names) == 0 {
		err = errors.New("this system does not tell in /proc what its processes use")
	}
	var all procs
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		p, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, p)
	}
	return all, err
}

// parseStat parses /proc/PID/stat (proc_pid_stat(5)).
func parseStat(text string) (p process, err error) {
	const parent, utime, cstime = 1, 11, 14 // counted after the name, which is in brackets and may contain anything
	begin, end := strings.IndexByte(text, ' '), strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	if begin < 0 || end < 0 || len(fields) <= cstime {
		return p, fmt.Errorf("%.100q is no line of /proc", text)
	}
	number := func(text string) int {
		n, fault := strconv.Atoi(text)
		err = errors.Join(err, fault)
		return n
	}
	p.pid, p.parent = number(text[:begin]), number(fields[parent])
	for _, f := range fields[utime : cstime+1] {
		p.used += time.Duration(number(f)) * tick
	}
	return p, err
}

// used is the processor time of some processes and all their descendants.
func (all procs) used(pids []int) (sum time.Duration, err error) {
	family := slices.Clone(pids)
	for i := 0; i < len(family); i++ {
		found := false
		for _, p := range all {
			if p.pid == family[i] {
				found, sum = true, sum+p.used
			}
			if p.parent == family[i] && !slices.Contains(family, p.pid) {
				family = append(family, p.pid)
			}
		}
		if !found {
			err = errors.Join(err, fmt.Errorf("there is no process %d", family[i]))
		}
	}
	return sum, err
}
