package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

// world is a deployment, its clients, and the record of what happened. It lives in one synctest bubble, with one processor, but the runtime
// may preempt a goroutine anywhere. Nobody waits in virtual time while holding a lock.
type world struct {
	// engineMu guards what the engines hold; statsMu guards the counts, the trace and the dice.
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
	sends    map[string]*sendState
	devices  []*device
	// troubled is the time until which something other than silent loss on the bus is wrong.
	troubled time.Time
	// faultUntil is the time until which the store or a process may misbehave; redisFaultUntil is that of Redis.
	faultUntil, redisFaultUntil time.Time
	endedLogins                 []*endedLogin
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
	w := &world{plan: p, start: time.Now(), counts: map[string]int{}, sends: map[string]*sendState{}, traced: traced}
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

// boot starts a process in a place: messages services have the first places, then gateways.
func (w *world) boot(place int) *node {
	p := w.newProcess(place)
	n := &node{place: place, gateway: place >= w.plan.Shape.Messages, process: p, engine: gin.New(), handlers: &sync.WaitGroup{}}
	n.store, n.link = &handle{process: p, e: w.store, of: w.store.data}, w.broker.connect(p)
	if !n.gateway {
		n.counters = &counters{process: p, r: w.redis}
		n.counters.connect() // a process waits for that before it serves
	}
	stopFollowing := func() {}
	if w.plan.Shape.Logins {
		stopFollowing = w.follow(n)
	}
	if n.gateway {
		w.bootGateway(n)
	} else {
		w.bootMessages(n)
	}
	stop := n.stop
	n.stop = func() {
		stop()
		stopFollowing()
	}
	w.note("node %d is process %d", place, p.id)
	return n
}

const pollWait = 20 * time.Second

func (w *world) bootGateway(n *node) {
	reader := inbox.NewReader(inbox.Config{
		Store: n.store, Retention: w.plan.Shape.Retention, PurgeMargin: purgeMargin, Now: n.process.now, AloneSince: w.aloneSince(n),
	})
	a, err := gatewayapp.New(gatewayapp.Config{
		MaxPolls: 10_000, MaxPollsPerUser: 64, PollWait: pollWait, DrainTime: 2 * time.Second, RingEvents: 64, RingBytes: 1 << 20,
		AllRingBytes: 64 << 20, VerifyEvery: time.Minute, PollsPerMinute: 3000, MaxUnread: 128 << 20, StoreReads: 32, ParkPolls: false,
	}, gatewayapp.Deps{
		Inbox: reader, Sessions: n.store, Meta: n.store, Tokens: n.tokens(), Revocations: n.known(), Limiter: noLimit, Log: discard,
		Alone: w.plan.Shape.Standalone,
	})
	if err != nil {
		panic(err) // the settings above are invalid
	}
	n.link.receiver = a.Receiver()
	a.Attach(n.link)
	a.Routes(n.engine)
	n.drain, n.stop = a.Drain, a.Stop
}

func (w *world) bootMessages(n *node) {
	log := inbox.Config{Store: n.store, PurgeMargin: purgeMargin, Now: n.process.now, AloneSince: w.aloneSince(n)}
	if w.plan.Shape.Standalone {
		log.Store = embedded{n.store}
		log.Sequencer = memseq.New(1000)
	} else {
		log.Counters = redisseq.NewOn(n.counters, redisseq.Config{Retention: w.plan.Shape.Retention, Cluster: w.plan.Shape.Cluster})
	}
	a := messagesapp.New(messagesapp.Config{
		MaxMessageBytes: 5 << 20, Retention: w.plan.Shape.Retention, SendQueue: 64, MaxSendingBytes: 256 << 20, MaxPages: 64,
		SendsPerMinute: 1200, ReadsPerMinute: 3000,
	}, messagesapp.Deps{
		Inbox: log, Directory: n.store, Bus: n.link, Hints: n.link, Tokens: n.tokens(), Limiter: noLimit, Log: discard,
	})
	a.Routes(n.engine)
	n.drain, n.stop = func(context.Context) error { return nil }, a.Stop
}

// aloneSince is the start time that a standalone server's inbox log is given; zero otherwise.
func (w *world) aloneSince(n *node) time.Time {
	if !w.plan.Shape.Standalone {
		return time.Time{}
	}
	return n.process.now()
}

// cutPower ends a standalone server and drops unsynced writes from its store.
func (w *world) cutPower(after time.Duration) {
	w.kill(0, after)
	w.store.data = w.store.data.copy(w.store.data.synced)
}

// kill ends the process of a place, and starts another one after a while.
func (w *world) kill(place int, after time.Duration) {
	if w.plan.Shape.Standalone { // one process has both places
		w.end(0, after)
		w.end(1, after)
		return
	}
	w.end(place, after)
}

func (w *world) end(place int, after time.Duration) {
	n := w.nodes[place]
	if n.process.isDead() {
		return
	}
	w.note("node %d dies", place)
	w.reap(n)
	w.later(after, func() {
		if w.nodes[place] == n {
			w.nodes[place] = w.boot(place)
		}
	})
}

// reap lets the goroutines of a dead process end.
func (w *world) reap(n *node) {
	n.process.die()
	w.broker.leave(n.process)
	w.background.Go(func() {
		n.handlers.Wait()
		n.stop()
	})
}

// roll stops a process as an operator does, and starts another.
func (w *world) roll(place int) {
	n := w.nodes[place]
	if n.process.isDead() || n.leaving {
		return
	}
	n.leaving = true
	w.note("node %d drains", place)
	w.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = n.drain(ctx)
		if !n.gateway {
			n.handlers.Wait()
		}
		n.stop()
		n.handlers.Wait()
		if w.nodes[place] == n {
			n.process.die()
			w.broker.leave(n.process)
			w.nodes[place] = w.boot(place)
		}
	})
}

// crashes lets a process die at a call, at random.
func (w *world) crashes(p *process, d *rng) bool {
	if !d.hit(w.plan.Rates[rateCrash]) || p.isDead() || w.nodes[p.place].process != p {
		return false
	}
	w.count(rateCrash)
	after := d.between(50*time.Millisecond, 4*time.Second)
	w.trouble(time.Now().Add(after + time.Second))
	w.illUntil(time.Now().Add(after + time.Second))
	w.kill(p.place, after)
	return true
}

// serving picks a node for a request.
func (w *world) serving(d *rng, gateway bool) *node {
	first, count := 0, w.plan.Shape.Messages
	if gateway {
		first, count = count, w.plan.Shape.Gateways
	}
	return w.nodes[first+d.below(count)]
}

// inject executes a scheduled fault.
func (w *world) inject(f Fault, index int) { //nolint:gocyclo,funlen // a table of faults
	w.count(f.Kind)
	w.note("%s", f)
	now := time.Now()
	until := now.Add(f.For)
	d := rngOf(w.plan.Seed, "fault", uint64(index), uint64(f.At))
	n := w.nodes[max(f.Node, 0)%len(w.nodes)]
	switch f.Kind {
	case storeDown:
		w.store.down = until
	case storeFailover:
		w.store.down = now.Add(f.For / 6)
		w.store.stale = append(w.store.stale, staleness{-1, w.store.down.Add(f.For), w.store.data.asOf(now.Add(-f.Lag / 4)), d.float()})
	case storeStale:
		w.store.stale = append(w.store.stale, staleness{f.Node, until, w.store.data.asOf(now.Add(-f.Lag)), d.float()})
	case storeCut:
		n.store.cut = until
	case storeSlow:
		w.store.slow = until
	case redisDown:
		w.redis.down = until
	case redisStall:
		w.redis.stalled = until
	case redisFlush:
		w.redis.master.flush(now)
	case redisBack:
		w.redis.down = now.Add(f.For / 6)
		w.redis.master = w.redis.copyOf(w.redis.master, now.Add(-f.Lag))
	case redisPromote:
		w.redis.promote(f.Lag / 4)
	case redisSplit:
		messages := w.nodes[f.Node%w.plan.Shape.Messages]
		messages.counters.kept = until
		w.redis.promote(f.Lag / 4)
	case redisCut:
		if n.counters != nil {
			n.counters.cut = until
		}
	case busDown:
		w.broker.down = until
		w.broker.interrupt(slices.Clone(w.broker.links), until, func(*link) {})
	case busCut:
		w.broker.interrupt([]*link{n.link}, until, func(l *link) { l.cut = until })
	case busHalfOpen:
		n.link.silent = until
		l := n.link
		w.later(f.For, func() { // the client gives up the connection and opens another
			w.broker.interrupt([]*link{l}, time.Now().Add(time.Second), func(l *link) { l.cut = time.Now().Add(time.Second) })
		})
	case busDrop:
		w.broker.dropping = until
	case busSlow:
		w.later(f.For, n.link.tell)
		n.link.silent = until
	case nodeKill:
		w.kill(n.place, f.For/3)
	case nodePause:
		n.process.pausedUntil = until
	case nodeRoll:
		w.roll(n.place)
		until = until.Add(10 * time.Second)
	case clockStep:
		w.offsets[n.place] = f.Lag
		w.lowest, w.highest = min(w.lowest, f.Lag), max(w.highest, f.Lag)
	case powerCut:
		w.cutPower(f.For / 3)
	case restore:
		w.restore(now.Add(-f.Lag))
	}
	switch {
	case !w.prompt:
		w.trouble(until)
	case f.Kind == storeDown, f.Kind == storeCut:
		w.trouble(until.Add(mostOnItsWay))
	default: // messages must be prompt during the other faults
	}
	if strings.HasPrefix(f.Kind, "redis") && until.Add(time.Second).After(w.redisFaultUntil) {
		w.redisFaultUntil = until.Add(time.Second)
	}
	switch f.Kind {
	case storeDown, storeFailover, storeStale, storeCut, storeSlow, nodeKill, nodePause, nodeRoll, restore, powerCut:
		w.illUntil(until.Add(time.Second))
	}
	if len(w.store.stale) > 0 {
		w.trouble(w.store.stale[len(w.store.stale)-1].until)
	}
}

// restore takes the store back to a backup, as the guide says: everything is stopped meanwhile.
func (w *world) restore(as time.Time) {
	for _, n := range w.nodes {
		if !n.process.isDead() {
			w.reap(n)
		}
	}
	w.restored++
	if as.Before(w.store.data.times[1]) { // the backup is the one that was restored last
		as = w.store.data.times[1]
	}
	w.store.data = w.store.data.copy(w.store.data.asOf(as))
	w.store.data.putEpoch(fmt.Sprintf("e%d", w.restored+1))
	for _, r := range w.devices { // a restore logs everybody out, and they log in again
		if data := w.store.data; r.kind == bySession {
			if _, there := data.session(sessionKey(r.user, r.session()), data.last); !there {
				furthest, _ := data.session(r.user, data.last)
				data.putSession(sessionKey(r.user, r.session()), store.SessionCursor{Epoch: furthest.Epoch, Position: furthest.Position})
			}
		}
	}
	w.store.data.synced = w.store.data.last
	w.store.stale = nil
	for content, at := range w.store.committed {
		if at.After(as) {
			delete(w.store.committed, content)
		}
	}
	for _, s := range w.sends { // lost sends are acknowledged when they are repeated
		if s.acknowledged.After(as) {
			s.acknowledged = time.Time{}
		}
	}
	w.note("restored as of %s: epoch e%d", as.Sub(w.start), w.restored+1)
	for place := range w.nodes {
		w.nodes[place] = w.boot(place)
	}
}

// heal ends all faults.
func (w *world) heal() {
	now := time.Now()
	w.note("all is healed")
	for _, rate := range illRates {
		if w.plan.Rates[rate] > 0 {
			w.illUntil(now.Add(10 * time.Second)) // calls under way
		}
	}
	w.healed, w.plan.Rates = true, nil
	w.store.down, w.store.slow, w.store.stale = now, now, nil
	w.redis.down, w.redis.stalled, w.redisFaultUntil = now, now, now
	w.broker.dropping = now
	for place, n := range w.nodes {
		n.process.pausedUntil, n.store.cut = now, now
		if n.counters != nil {
			n.counters.cut, n.counters.kept = now, now
		}
		if n.process.isDead() {
			w.nodes[place] = w.boot(place)
		}
	}
	for _, l := range w.broker.links {
		l.cut, l.silent = now, now
	}
	w.broker.down = now
	for _, l := range w.broker.links {
		l.tell()
	}
	w.trouble(now)
}

// stopAll stops what still runs, as an operator does.
func (w *world) stopAll() {
	if w.stopAuth != nil {
		w.stopAuth()
	}
	for _, n := range w.nodes {
		if !n.process.isDead() {
			n.handlers.Wait()
			n.stop()
			n.process.die()
		}
	}
}

// isOK reports whether the request succeeded.
func isOK(status int) bool { return status == http.StatusOK || status == http.StatusCreated }
