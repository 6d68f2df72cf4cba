package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
)

// Result is the outcome of a run.
type Result struct {
	Plan   Plan
	Faults []string
	// Counts says how often each thing happened.
	Counts map[string]int
	Report historycheck.Report
	Took   time.Duration
	Trace  []string
}

// Failed reports whether the run has faults.
func (r Result) Failed() bool { return len(r.Faults) > 0 }

// String lists the faults.
func (r Result) String() string {
	return fmt.Sprintf("%s%s\n  %s", r.Plan, strings.Join(r.Faults, "\n"), r.Report)
}

// Run makes one run. It must be called within a synctest bubble, and returns when everything that it has started has ended.
func Run(p Plan, traced bool) Result {
	rates := p.Rates
	w := newWorld(p, traced)
	w.startClients()
	w.background.Go(w.expire)
	for i, f := range p.Faults {
		<-time.After(w.unique(f.At - time.Since(w.start)))
		w.inject(f, i)
	}
	<-time.After(w.unique(p.Shape.Busy - time.Since(w.start)))
	w.heal()
	w.finish()
	p.Rates = rates
	r := Result{Plan: p, Counts: w.counts, Took: time.Since(w.start)}
	r.Report = w.judge()
	r.Faults, r.Trace = w.faults, w.log
	w.counts["runs"], w.counts["virtual-seconds"] = 1, int(r.Took/time.Second)
	w.counts["sends"], w.counts["acknowledged"], w.counts["deliveries"], w.counts["answers"] = r.Report.Attempts, r.Report.Acknowledged, r.Report.Deliveries, r.Report.Answers
	return r
}

// expire removes from time to time what TTL may remove.
func (w *world) expire() {
	for n := uint64(0); !w.closing; n++ {
		d := rngOf(w.plan.Seed, "expiry", n)
		<-time.After(w.unique(d.between(5*time.Second, betweenRemovals)))
		if removed := w.store.data.expire(time.Now(), d, 0.3+0.7*d.float()); removed > 0 {
			w.counts["expired"] += removed
			w.note("expiry removes %d", removed)
		}
	}
}

// patience is how long the readers go on after the last send: longer than a lost event can go unnoticed.
const patience = 80 * time.Second

// finish waits for the senders and readers, and stops the nodes.
func (w *world) finish() {
	w.senders.Wait()
	<-time.After(w.unique(patience))
	w.closing = true
	w.readers.Wait()
	w.witnessAll()
	w.stopAll()
	w.background.Wait()
}

// Total adds counts to into.
func Total(into, counts map[string]int) {
	for what, n := range counts {
		into[what] += n
	}
}

// Table prints counts.
func Table(counts map[string]int) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%20s %d\n", what, counts[what])
	}
	return b.String()
}
