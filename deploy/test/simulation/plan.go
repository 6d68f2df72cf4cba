package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan describes a run: who takes part, what goes wrong when, and how often calls fail at random.
type Plan struct {
	Seed  uint64
	Shape Shape
	// Faults are ordered by time. Rates are keyed by name; those that are missing do not happen.
	Faults []Fault
	Rates  map[string]float64
	// Busiest are times around which more is sent: those of the drawn faults, even of those that Kept drops.
	Busiest []time.Duration
}

// Fault is something that goes wrong at a time.
type Fault struct {
	Kind string
	At   time.Duration
	// For is the duration, for faults that last.
	For time.Duration
	// Node is the number of the affected node, -1 for all.
	Node int
	// Lag is how far back a state goes, or how far a clock jumps.
	Lag time.Duration
}

// String formats the fault as a line of a schedule.
func (f Fault) String() string {
	return fmt.Sprintf("%s at %s for %s, node %d, lag %s", f.Kind, f.At.Round(time.Millisecond), f.For.Round(time.Millisecond), f.Node, f.Lag.Round(time.Millisecond))
}

// The kinds of scheduled faults.
const (
	storeDown     = "store-down"     // no primary: nothing is answered
	storeFailover = "store-failover" // nothing is answered for a short time, then reads see the old state for a while
	storeStale    = "store-stale"    // one node's reads, or a share of everybody's, come from an older state
	storeCut      = "store-cut"      // one node cannot reach the store
	storeSlow     = "store-slow"     // calls take seconds
	redisDown     = "redis-down"     // refuses connections
	redisStall    = "redis-stall"    // takes commands and does not answer
	redisFlush    = "redis-flush"    // loses all data
	redisBack     = "redis-back"     // restarts with an older copy
	redisPromote  = "redis-promote"  // a replica that lags takes over
	redisSplit    = "redis-split"    // as redis-promote, and one node stays on the old master for a while
	redisCut      = "redis-cut"      // one node cannot reach Redis
	busDown       = "bus-down"       // nobody is connected
	busCut        = "bus-cut"        // one node is not connected and knows it
	busHalfOpen   = "bus-half-open"  // what one node sends and is sent is lost; it learns of that later
	busDrop       = "bus-drop"       // events are lost silently
	busSlow       = "bus-slow"       // one node is a slow consumer: events are dropped, and it is told
	nodeKill      = "kill"           // a process dies, and another starts in its place
	nodePause     = "pause"          // a process pauses and then goes on
	nodeRoll      = "roll"           // a process is stopped gracefully and restarted
	clockStep     = "clock-step"     // a node's clock jumps
	restore       = "restore"        // the store goes back to a backup and gets a new epoch
	powerCut      = "power-cut"      // a standalone server loses unsynced writes
)

var faultKinds = []string{
	storeDown, storeFailover, storeStale, storeCut, storeSlow, redisDown, redisStall, redisFlush, redisBack, redisPromote, redisSplit, redisCut,
	busDown, busCut, busHalfOpen, busDrop, busSlow, nodeKill, nodePause, nodeRoll, clockStep, restore,
}

// The kinds of random faults of calls. rates has the highest probability that a run can draw for each.
const (
	rateLost    = "answer-lost"    // a write is applied, but its answer is lost
	rateLate    = "applied-late"   // a write is applied seconds after its caller was told that it failed
	ratePartial = "partial"        // a random part of a bulk write is applied, in any order, and the call fails
	rateFail    = "call-fails"     // a call fails without effect
	rateSlow    = "call-slow"      // a call takes long
	rateTorn    = "bulk-torn"      // others see a bulk write half done
	rateTwice   = "incr-twice"     // the Redis client library retries, and Redis counts twice
	rateSeqFail = "incr-fails"     // Redis counts, and the answer is lost
	rateDrop    = "event-lost"     // an event is lost silently
	rateDouble  = "event-twice"    // an event comes twice
	rateDelay   = "event-late"     // an event comes seconds later
	rateReorder = "event-reorders" // an event overtakes others
	rateCrash   = "crash-at-call"  // the process dies at a call to an engine
)

var rates = []struct {
	name string
	most float64
}{
	{rateLost, 0.05}, {rateLate, 0.05}, {ratePartial, 0.1}, {rateFail, 0.05}, {rateSlow, 0.02}, {rateTorn, 0.5},
	{rateTwice, 0.1}, {rateSeqFail, 0.1}, {rateDrop, 0.2}, {rateDouble, 0.2}, {rateDelay, 0.2}, {rateReorder, 0.3}, {rateCrash, 0.004},
}

// Draw makes the plan of a seed.
func Draw(seed uint64) Plan {
	d := rngOf(seed, "plan")
	p := Plan{Seed: seed, Rates: map[string]float64{}}
	p.Shape = drawShape(d)
	if p.Shape.Retention < 24*time.Hour && rngOf(seed, "quiet").hit(0.4) {
		p.Shape.Quiet = p.Shape.Retention + purgeMargin + mostOverdue
		p.Shape.Busy += p.Shape.Quiet
	} else if p.Shape.Retention < 24*time.Hour && rngOf(seed, "again").hit(0.5) {
		p.Shape.Again = p.Shape.Retention + mostOverdue
		p.Shape.Busy += p.Shape.Again
	}
	if rngOf(seed, "standalone").hit(0.1) {
		p.Shape.makeStandalone()
	}
	for range d.below(9) {
		p.Faults = append(p.Faults, drawFault(d, p.Shape))
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	for _, f := range p.Faults {
		p.Busiest = append(p.Busiest, f.At)
	}
	if bursts := rngOf(seed, "bursts"); bursts.hit(0.3) {
		p.Shape.Bursts = drawBursts(bursts, p)
	}
	for _, r := range rates {
		if share := d.float(); d.hit(0.3) {
			p.Rates[r.name] = r.most * share * share
		}
	}
	if d := rngOf(seed, "known"); d.hit(0.35) {
		p.onlyKnown(d)
		p.Shape.Bursts = drawBursts(d, p)
	}
	if p.Shape.Standalone {
		p.makeStandalone()
	} else {
		p.Shape.Logins = p.Shape.Quiet == 0 && p.Shape.Again == 0 && rngOf(seed, "logins").hit(0.3)
	}
	return p
}

// makeStandalone reduces a plan to the faults that can happen to a standalone server.
func (p *Plan) makeStandalone() {
	for i, f := range p.Faults {
		switch {
		case slices.Contains([]string{storeSlow, busSlow, nodeKill, clockStep, restore}, f.Kind):
		case i%2 == 0:
			p.Faults[i].Kind = nodeKill
		default:
			p.Faults[i].Kind = powerCut
		}
	}
	crash, slow := p.Rates[rateCrash], p.Rates[rateSlow]
	p.Rates = map[string]float64{}
	if crash > 0 {
		p.Rates[rateCrash] = crash
	}
	if slow > 0 {
		p.Rates[rateSlow] = slow
	}
}

// mostOverdue is how long due data may stay before a removal certainly takes it; betweenRemovals is the longest time between two removals.
const (
	mostOverdue     = 2 * time.Minute
	betweenRemovals = time.Minute
)

// Faults of which everybody concerned learns, so that messages need not wait for a node's next verification.
var (
	knownFaults = slices.Concat(knownOfBus, knownOfStore, []string{redisDown, redisFlush, redisCut, redisStall})
	knownRates  = append([]string{rateTwice, rateSeqFail}, knownRatesOfBus...)

	knownOfBus      = []string{busDown, busCut, busCut, clockStep}
	knownRatesOfBus = []string{rateDouble, rateTorn}
	knownOfStore    = []string{storeDown, storeDown, storeCut}
)

// onlyKnown limits a plan to faults under which messages must be prompt. If only one engine fails, the bound is tighter.
func (p *Plan) onlyKnown(d *rng) {
	p.Shape.Far = false
	if p.Shape.Quiet == 0 && p.Shape.Again == 0 {
		p.Shape.Retention = longRetention // else readers wait a while at entries whose messages are gone
	}
	kinds, names := knownFaults, knownRates
	switch d.below(3) {
	case 0:
		kinds, names = knownOfBus, knownRatesOfBus
	case 1:
		kinds, names = knownOfStore, nil
	}
	for i := range p.Faults {
		if f := &p.Faults[i]; !slices.Contains(kinds, f.Kind) {
			f.Kind, f.For = pick(d, kinds), d.between(0, 12*time.Second)
		}
	}
	maps.DeleteFunc(p.Rates, func(name string, _ float64) bool { return !slices.Contains(names, name) })
}

func drawFault(d *rng, s Shape) Fault {
	f := Fault{
		Kind: pick(d, faultKinds), At: d.between(0, s.Busy), For: d.between(0, 12*time.Second), Node: d.below(s.Messages + s.Gateways),
		Lag: d.between(0, 15*time.Second),
	}
	switch f.Kind {
	case restore:
		if !d.hit(0.3) {
			f.Kind = nodeKill
		}
	case storeStale:
		if d.hit(0.5) {
			f.Node = -1
		}
		f.Lag /= 3
	case clockStep:
		f.Lag = d.between(-time.Minute, time.Minute)
	case nodePause:
		f.For = d.between(100*time.Millisecond, 2*time.Minute)
	case storeSlow, storeDown, busDown, busDrop:
		if d.hit(0.2) {
			f.For *= 5
		}
	}
	return f
}

// Kept returns the plan with only the faults and rates of c.
func (p Plan) Kept(c Choice) Plan {
	if c.Faults != nil {
		var left []Fault
		for i, f := range p.Faults {
			if slices.Contains(*c.Faults, i) {
				left = append(left, f)
			}
		}
		p.Faults = left
	}
	if c.Rates != nil {
		left := map[string]float64{}
		for _, name := range *c.Rates {
			if r, there := p.Rates[name]; there {
				left[name] = r
			}
		}
		p.Rates = left
	}
	return p
}

// Choice selects faults and rates of a plan; nil keeps all.
type Choice struct {
	Faults *[]int
	Rates  *[]string
}

// ParseChoice parses the two lists as String writes them; "all" keeps all.
func ParseChoice(faults, names string) (c Choice, err error) {
	if faults != "" && faults != "all" {
		list := []int{}
		for text := range strings.SplitSeq(faults, ",") {
			if text == "none" {
				break
			}
			i, err := strconv.Atoi(text)
			if err != nil {
				return c, fmt.Errorf("FAULTS: %w", err)
			}
			list = append(list, i)
		}
		c.Faults = &list
	}
	if names != "" && names != "all" {
		list := []string{}
		if names != "none" {
			list = strings.Split(names, ",")
		}
		c.Rates = &list
	}
	return c, nil
}

// String returns the variables of `make simulate` that replay the choice.
func (c Choice) String() string {
	text := ""
	if c.Faults != nil {
		list := []string{}
		for _, i := range *c.Faults {
			list = append(list, strconv.Itoa(i))
		}
		text += " FAULTS=" + cmp.Or(strings.Join(list, ","), "none")
	}
	if c.Rates != nil {
		text += " RATES=" + cmp.Or(strings.Join(*c.Rates, ","), "none")
	}
	return text
}

func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %+v\n", p.Seed, p.Shape)
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	for _, r := range rates {
		if p.Rates[r.name] > 0 {
			fmt.Fprintf(&b, "  %s: %.4f\n", r.name, p.Rates[r.name])
		}
	}
	return b.String()
}
