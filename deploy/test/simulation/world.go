package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

// world is a deployment, its clients, and the record of what happened. It lives in one synctest bubble, with one processor, but the runtime
// may preempt a goroutine anywhere. Nobody waits in virtual time while holding a lock.
type world struct {
	// engineMu guards what the engines hold; statsMu guards the counts, the faults and the trace.
	engineMu, statsMu sync.Mutex

	plan  Plan
	start time.Time
	lives int
	// taken makes the sub-microsecond offsets of wake-ups differ, so that no two calls wake at the same instant.
	taken uint64

	store   *engine
	redis   *redis
	broker  *broker
	nodes   []*node
	offsets []time.Duration

	// background counts the goroutines that end without being stopped.
	background, senders, readers sync.WaitGroup

	counts map[string]int
	faults []string
	log    []string
	traced bool

	attempts []historycheck.Attempt
	answers  []historycheck.Answer
	// sessionsBegan are the cursors that sessions began with; sessionSteps is what they were given.
	sessionsBegan map[string]store.SessionCursor
	sessionSteps  []sessionStep
	sends         map[string]*sendState
	devices       []*device
	// troubled is the time until which something other than silent loss on the bus is wrong.
	troubled time.Time
	// faultUntil is the time until which the store or a process may misbehave; redisFaultUntil is that of Redis, busFaultUntil that of the
	// bus.
	faultUntil, redisFaultUntil, busFaultUntil time.Time
	endedLogins                                []*endedLogin
	// stopAuth stops the auth service, if there is one.
	stopAuth func()
	healed   bool
	closing  bool
	// prompt: only faults happen that everybody concerned learns of; holes: positions may stay empty; stepped: a clock jumps. See bound.
	prompt, holes, stepped bool
	// aborted: going on is pointless.
	aborted  bool
	restored int
	// lowest and highest are the extreme clock offsets.
	lowest, highest time.Duration
}

// node is a place in the deployment and the process that currently has it.
type node struct {
	place    int
	gateway  bool
	process  *process
	engine   *gin.Engine
	store    *handle
	counters *counters
	link     *link
	// mirror is the node's copy of the revocations, if there are any.
	mirror *revocation.Mirror
	// leaving: the node takes no new requests.
	leaving bool
	// handlers counts the running handlers.
	handlers *sync.WaitGroup
	drain    func(context.Context) error
	stop     func()
}

func newWorld(p Plan, traced bool) *world {
	w := &world{plan: p, start: time.Now(), counts: map[string]int{}, sends: map[string]*sendState{}, sessionsBegan: map[string]store.SessionCursor{}, traced: traced}
	w.store = &engine{w: w, data: newData("e1"), committed: map[string]time.Time{}, reads: map[int]int{}}
	w.redis, w.broker = newRedis(w), &broker{w: w}
	w.judgePromptness()
	d := rngOf(p.Seed, "clocks")
	for place := range p.Shape.Messages + p.Shape.Gateways {
		offset := time.Duration(0)
		if d.hit(0.5) {
			offset = d.between(-30*time.Second, 30*time.Second)
		}
		w.offsets = append(w.offsets, offset)
		w.lowest, w.highest = min(w.lowest, offset), max(w.highest, offset)
		w.nodes = append(w.nodes, w.boot(place))
	}
	return w
}

// unique lengthens a wait a little, so that no other wait ends at the same instant.
func (w *world) unique(d time.Duration) time.Duration {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	w.taken++
	end := time.Since(w.start) + d
	return end.Truncate(time.Microsecond) + time.Microsecond + time.Duration(w.taken%1000) - time.Since(w.start)
}

// sleep is a client's wait.
func (w *world) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(w.unique(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// later calls f after d.
func (w *world) later(d time.Duration, f func()) {
	w.background.Add(1)
	time.AfterFunc(w.unique(max(d, 0)), func() {
		defer w.background.Done()
		f()
	})
}

func (w *world) count(what string) {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	w.counts[what]++
}

// fault records something that must not happen.
func (w *world) fault(format string, args ...any) {
	text := fmt.Sprintf("%s: ", time.Since(w.start).Round(time.Millisecond)) + fmt.Sprintf(format, args...)
	w.note("FAULT %s", text)
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	if len(w.faults) < 20 {
		w.faults = append(w.faults, text)
	}
}

// giveUp ends the run with a fault.
func (w *world) giveUp(format string, args ...any) {
	if !w.aborted {
		w.fault(format, args...)
	}
	w.aborted, w.closing = true, true
}

// note adds to the trace.
func (w *world) note(format string, args ...any) {
	if w.traced {
		w.statsMu.Lock()
		defer w.statsMu.Unlock()
		w.log = append(w.log, fmt.Sprintf("%12s  ", time.Since(w.start).Round(time.Microsecond))+fmt.Sprintf(format, args...))
	}
}

// trouble records that something goes wrong until a time.
func (w *world) trouble(until time.Time) {
	if until.After(w.troubled) {
		w.troubled = until
	}
}

func (w *world) illUntil(until time.Time) {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	if until.After(w.faultUntil) {
		w.faultUntil = until
	}
}

var discard = slog.New(slog.DiscardHandler)

func noLimit(string, ratelimit.Quota) ratelimit.Limiter { return ratelimit.Off{} }

// revocations is an empty list of revocations.
type revocations struct{}

// Revoked implements token.Revocations.
func (revocations) Revoked(token.Identity) bool { return false }

// Staleness implements token.Revocations.
func (revocations) Staleness() time.Duration { return 0 }

// Watch implements gatewayapp.Revocations.
func (revocations) Watch(func(revocation.Record)) (stop func()) { return func() {} }

// known is what a node uses to look up revocations.
type known interface {
	token.Revocations
	gatewayapp.Revocations
}

func (n *node) known() known {
	if n.mirror == nil {
		return revocations{}
	}
	return n.mirror
}

func (n *node) tokens() httpserver.TokenChecker {
	return &token.Guard{Verifier: verifier{}, Revocations: n.known()}
}

// serving picks a node for a request.
func (w *world) serving(d *rng, gateway bool) *node {
	first, count := 0, w.plan.Shape.Messages
	if gateway {
		first, count = count, w.plan.Shape.Gateways
	}
	return w.nodes[first+d.below(count)]
}
