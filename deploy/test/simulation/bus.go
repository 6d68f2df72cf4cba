package simulation

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/bus"
)

// broker is the simulated NATS: at most once, and nothing beyond what is documented.
type broker struct {
	w *world
	// Until down, nobody is connected; until dropping, events are lost silently.
	down, dropping time.Time
	links          []*link
}

// link is one process's connection. It implements the ports of package bus.
type link struct {
	*process
	b        *broker
	receiver bus.Receiver
	subs     map[string]int
	// Until cut, it is not connected; until silent, it does not notice that its connection is dead.
	cut, silent time.Time
	// clear is when the last event for it arrives: later events arrive after it.
	clear time.Time
	known bool
	// lost: something published since the last flush may be lost.
	lost bool
}

func (b *broker) connect(p *process) *link {
	l := &link{process: p, b: b, subs: map[string]int{}, known: true}
	b.w.engineMu.Lock()
	defer b.w.engineMu.Unlock()
	b.links = append(b.links, l)
	return l
}

func (b *broker) leave(p *process) {
	b.w.engineMu.Lock()
	defer b.w.engineMu.Unlock()
	b.links = slices.DeleteFunc(b.links, func(l *link) bool { return l.process == p })
}

// up reports whether the connection carries anything.
func (l *link) up() bool {
	now := time.Now()
	return !l.isDead() && !now.Before(l.cut) && !now.Before(l.b.down) && !now.Before(l.silent)
}

// Connected implements bus.Subscriber. It returns what the client knows, which may be wrong.
func (l *link) Connected() bool {
	now := time.Now()
	return !l.isDead() && !now.Before(l.cut) && !now.Before(l.b.down)
}

// tell tells the receiver that a connection came or went.
func (l *link) tell() {
	if l.receiver != nil && !l.isDead() {
		l.receiver.Disrupted()
	}
}

// publication is one publish call: events of a user, or rooms, which have no user.
type publication struct {
	user    string
	payload []byte
	traces  []string
}

// Publish implements bus.Publisher.
func (l *link) Publish(user string, payload []byte, traces []string) error {
	return l.publish(publication{user, payload, traces})
}

// PublishRoom implements bus.Publisher.
func (l *link) PublishRoom(payload []byte, traces []string) error {
	return l.publish(publication{payload: payload, traces: traces})
}

// Receivers implements bus.Publisher. At random it is unknown.
func (l *link) Receivers() int {
	if l.rng("Receivers", "").below(4) == 0 {
		return 0
	}
	l.w.engineMu.Lock()
	defer l.w.engineMu.Unlock()
	n := 0
	for _, to := range l.b.links {
		if to.receiver != nil {
			n++
		}
	}
	return n
}

// publish sends p to the links that want it. The publisher keeps owning the payload.
func (l *link) publish(p publication) error {
	if !l.up() {
		l.lost = true
	}
	if !l.Connected() {
		return bus.ErrDisconnected
	}
	if !l.up() {
		l.w.count("event-vanished")
		return nil
	}
	d := l.rng("Publish", p.user)
	l.w.engineMu.Lock()
	defer l.w.engineMu.Unlock()
	if time.Now().Before(l.b.dropping) {
		l.w.count(rateDrop)
		return nil
	}
	for _, to := range l.b.links {
		if !to.wants(p.user) {
			continue
		}
		if d.hit(l.w.plan.Rates[rateDrop]) {
			l.w.count(rateDrop)
			continue
		}
		to.deliver(d, p.copy())
		if d.hit(l.w.plan.Rates[rateDouble]) {
			l.w.count(rateDouble)
			to.deliver(d, p.copy())
		}
	}
	return nil
}

// Flush implements bus.Publisher.
func (l *link) Flush(ctx context.Context) error {
	d := l.rng("Flush", "")
	if err := l.await(ctx, d.between(50*time.Microsecond, 2*time.Millisecond)); err != nil {
		return errors.Join(bus.ErrDisconnected, err)
	}
	for l.Connected() && !l.up() { // no answer comes
		if err := l.await(ctx, 100*time.Millisecond); err != nil {
			return errors.Join(bus.ErrDisconnected, err)
		}
	}
	lost := l.lost || !l.Connected()
	l.lost = false
	if lost {
		return bus.ErrDisconnected
	}
	return nil
}

// Hint implements bus.Hinter, over Redis.
func (l *link) Hint(ctx context.Context, users []string) error {
	d := l.rng("Hint", "")
	if err := l.await(ctx, d.between(50*time.Microsecond, 2*time.Millisecond)); err != nil {
		return err
	}
	if now := time.Now(); now.Before(l.w.redis.down) || now.Before(l.w.redis.stalled) {
		return errRedis
	}
	l.w.count("hint")
	l.w.engineMu.Lock()
	defer l.w.engineMu.Unlock()
	for _, to := range l.b.links {
		l.w.later(d.between(50*time.Microsecond, 3*time.Millisecond), func() { to.look(users) })
	}
	return nil
}

// look delivers a hint.
func (l *link) look(users []string) {
	if wait := time.Until(l.pausedUntil); wait > 0 {
		l.w.later(wait, func() { l.look(users) })
		return
	}
	if l.receiver != nil && !l.isDead() {
		l.receiver.Hinted(users)
	}
}

func (p publication) copy() publication { return publication{p.user, bytes.Clone(p.payload), p.traces} }

func (l *link) deliver(d *rng, p publication) {
	after := d.between(50*time.Microsecond, 3*time.Millisecond)
	if d.hit(l.w.plan.Rates[rateDelay]) {
		l.w.count(rateDelay)
		after = d.between(0, 4*time.Second)
	}
	if d.hit(l.w.plan.Rates[rateReorder]) {
		l.w.count(rateReorder)
		after += d.between(0, 100*time.Millisecond)
	} else {
		after = max(after, time.Until(l.clear)+time.Microsecond)
		l.clear = time.Now().Add(after)
	}
	l.w.later(after, func() { l.arrive(p) })
}

// arrive delivers an event, unless the connection is gone by now; a paused process takes it when it goes on.
func (l *link) arrive(p publication) {
	if wait := time.Until(l.pausedUntil); wait > 0 {
		l.w.later(wait, func() { l.arrive(p) })
		return
	}
	switch {
	case !l.up() || !l.subscribed(p.user):
		l.w.note("process %d does not hear what comes for %q", l.id, p.user)
	case p.user == "":
		l.w.count("room")
		l.w.note("process %d hears a room", l.id)
		l.receiver.ReceiveRoom(p.payload, p.traces)
		clear(p.payload) // the receiver no longer owns it
	default:
		l.w.count("event")
		l.w.note("process %d hears an event for %s", l.id, p.user)
		l.receiver.Receive(p.user, p.payload, p.traces)
	}
}

func (l *link) subscribed(user string) bool {
	l.w.engineMu.Lock()
	defer l.w.engineMu.Unlock()
	return l.wants(user)
}

// wants reports whether the link receives what is sent to a user, or a room (user is empty). The caller holds the world's engineMu.
func (l *link) wants(user string) bool {
	return l.receiver != nil && (user == "" || l.subs[user] > 0)
}

// Subscribe implements bus.Subscriber. It takes no time: gateways hold a mutex meanwhile, which would stop virtual time.
func (l *link) Subscribe(_ context.Context, user string) (bus.Subscription, error) {
	l.w.engineMu.Lock()
	defer l.w.engineMu.Unlock()
	l.subs[user]++ // without a connection it begins with the next one
	s := &subscription{l, user}
	if !l.up() {
		return s, bus.ErrDisconnected
	}
	return s, nil
}

type subscription struct {
	l    *link
	user string
}

// Unsubscribe implements bus.Subscription.
func (s *subscription) Unsubscribe() error {
	s.l.w.engineMu.Lock()
	defer s.l.w.engineMu.Unlock()
	s.l.subs[s.user]--
	return nil
}

// Answer implements bus.Directory.
func (l *link) Answer(func() []byte) (stop func() error, err error) {
	return func() error { return nil }, nil
}

// Ask implements bus.Directory.
func (l *link) Ask(context.Context) ([][]byte, error) { return nil, nil }

// interrupt breaks the connections of the links with set, and tells their receivers now and at until.
func (b *broker) interrupt(list []*link, until time.Time, set func(*link)) {
	for _, l := range list {
		set(l)
		l.lost = true
		l.tell()
		b.w.later(time.Until(until), func() { l.tell() })
	}
}
