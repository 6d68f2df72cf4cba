package simulation

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// hintsGather is how long a messages node may need, once the bus is back, until it has told all that the bus may have lost.
	hintsGather = 2 * time.Second
	// hintsAgain is how long a gateway may need to subscribe to hints again once Redis is back: redishints pauses for up to 5 s.
	hintsAgain = 6 * time.Second
)

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
	if strings.HasPrefix(f.Kind, "bus") && until.Add(hintsGather).After(w.busFaultUntil) {
		w.busFaultUntil = until.Add(hintsGather)
	}
	// A node that the bus has left tells by Redis whose inboxes to read. Without both, readers wait for Redis, or the next verification:
	// see decision hints.md.
	if now.Before(w.busFaultUntil) && now.Before(w.redisFaultUntil) {
		w.trouble(w.redisFaultUntil.Add(hintsAgain))
	}
	switch f.Kind {
	case storeDown, storeFailover, storeStale, storeCut, storeSlow, nodeKill, nodePause, nodeRoll, restore, powerCut:
		w.illUntil(until.Add(time.Second))
	}
	if len(w.store.stale) > 0 {
		w.trouble(w.store.stale[len(w.store.stale)-1].until)
	}
}

// epoch is the log's epoch, as store.FirstEpochID and NextEpochID name them.
func (w *world) epoch() string {
	if w.restored == 0 {
		return "e1"
	}
	return fmt.Sprintf("r%d", w.restored+1)
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
	w.store.data.putEpoch(w.epoch())
	for _, r := range w.devices { // a restore logs everybody out, and they log in again
		if data := w.store.data; r.sessionCursor() {
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
	w.note("restored as of %s: epoch %s", as.Sub(w.start), w.epoch())
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
	w.redis.down, w.redis.stalled, w.redisFaultUntil, w.busFaultUntil = now, now, now, now
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
