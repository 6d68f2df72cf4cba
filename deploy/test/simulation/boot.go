package simulation

import (
	"context"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

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
		SendsPerMinute: 1200, RecipientsPerMinute: 30_720, ReadsPerMinute: 3000,
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
