package simulation

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/bus"
)

// broker is the simulated NATS: at most once, and no more than is documented.
type broker struct {
	w *world
	// down is until when nobody is connected, dropping until when events are lost and nobody is told.
	down, dropping time.Time
	links          []*link
}

// link is one process's connection. It implements the ports of package bus.
type link struct {
	*process
	b        *broker
	receiver bus.Receiver
	subs     map[string]int
	// cut is until when it is not connected; silent until when it does not know that nothing goes over its connection.
	cut, silent time.Time
	// clear is when the last event for it arrives: those that come later arrive later.
	clear time.Time
	known bool
	// lost: something that was published since the last flush may be lost.
	lost bool
}

func (b *broker) connect(p *process) *link {
	l := &link{process: p, b: b, subs: map[string]int{}, known: true}
	b.w.state.Lock()
	defer b.w.state.Unlock()
	b.links = append(b.links, l)
	return l
}

func (b *broker) leave(p *process) {
	b.w.state.Lock()
	defer b.w.state.Unlock()
	b.links = slices.DeleteFunc(b.links, func(l *link) bool { return l.process == p })
}

// up reports whether anything goes over the connection.
func (l *link) up() bool {
	now := time.Now()
	return !l.isDead() && !now.Before(l.cut) && !now.Before(l.b.down) && !now.Before(l.silent)
}

// Connected implements bus.Subscriber: it is what the client knows, which may be wrong.
func (l *link) Connected() bool {
	now := time.Now()
	return !l.isDead() && !now.Before(l.cut) && !now.Before(l.b.down)
}

// tell tells the receiver of a connection that has come or gone.
func (l *link) tell() {
	if l.receiver != nil && !l.isDead() {
		l.receiver.Disrupted()
	}
}

// publication is what is sent at once: events of a user, or rooms, of nobody.
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

// Receivers implements bus.Publisher. Now and then it is not known.
func (l *link) Receivers() int {
	if l.dice("Receivers", "").below(4) == 0 {
		return 0
	}
	l.w.state.Lock()
	defer l.w.state.Unlock()
	n := 0
	for _, to := range l.b.links {
		if to.receiver != nil {
			n++
		}
	}
	return n
}

// publish sends something to whom it may concern. The payload goes on being the publisher's.
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
	d := l.dice("Publish", p.user)
	l.w.state.Lock()
	defer l.w.state.Unlock()
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
	d := l.dice("Flush", "")
	if err := l.await(ctx, d.between(50*time.Microsecond, 2*time.Millisecond)); err != nil {
		return errors.Join(bus.ErrDisconnected, err)
	}
	for l.Connected() && !l.up() { // nothing comes back
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
	d := l.dice("Hint", "")
	if err := l.await(ctx, d.between(50*time.Microsecond, 2*time.Millisecond)); err != nil {
		return err
	}
	if now := time.Now(); now.Before(l.w.redis.down) || now.Before(l.w.redis.stalled) {
		return errRedis
	}
	l.w.count("hint")
	l.w.state.Lock()
	defer l.w.state.Unlock()
	for _, to := range l.b.links {
		l.w.later(d.between(50*time.Microsecond, 3*time.Millisecond), func() { to.look(users) })
	}
	return nil
}

// look hands a hint over.
func (l *link) look(users []string) {
	if wait := time.Until(l.pausedUntil); wait > 0 {
		l.w.later(wait, func() { l.look(users) })
		return
	}
	if l.receiver != nil && !l.isDead() {
		l.receiver.Look(users)
	}
}

func (p publication) copy() publication { return publication{p.user, bytes.Clone(p.payload), p.traces} }

func (l *link) deliver(d *dice, p publication) {
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

// arrive hands an event over, unless the connection is gone by now; a process that is paused takes it when it goes on.
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
		clear(p.payload) // which is not the receiver's any more
	default:
		l.w.count("event")
		l.w.note("process %d hears an event for %s", l.id, p.user)
		l.receiver.Receive(p.user, p.payload, p.traces)
	}
}

func (l *link) subscribed(user string) bool {
	l.w.state.Lock()
	defer l.w.state.Unlock()
	return l.wants(user)
}

// wants reports whether the link is handed what is sent to a user, or to nobody: a room. The world's state is locked.
func (l *link) wants(user string) bool {
	return l.receiver != nil && (user == "" || l.subs[user] > 0)
}

// Subscribe implements bus.Subscriber. It takes no time: gateways hold a mutex meanwhile, in front of which no time would pass.
func (l *link) Subscribe(_ context.Context, user string) (bus.Subscription, error) {
	l.w.state.Lock()
	defer l.w.state.Unlock()
	l.subs[user]++ // without a connection it begins with the next
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
	s.l.w.state.Lock()
	defer s.l.w.state.Unlock()
	s.l.subs[s.user]--
	return nil
}

// Answer implements bus.Directory.
func (l *link) Answer(func() []byte) (stop func() error, err error) {
	return func() error { return nil }, nil
}

// Ask implements bus.Directory.
func (l *link) Ask(context.Context) ([][]byte, error) { return nil, nil }

// interrupt breaks the connections of the links that it is told of until a time.
func (b *broker) interrupt(list []*link, until time.Time, set func(*link)) {
	for _, l := range list {
		set(l)
		l.lost = true
		l.tell()
		b.w.later(time.Until(until), func() { l.tell() })
	}
}
