package messaging

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/bus"
)

const (
	// flushEvery is how long what was published waits before the bus is asked whether it has it, and flushLimit how long
	// the answer may take. Together they are how late readers learn of events that went into a dead connection.
	flushEvery = 500 * time.Millisecond
	flushLimit = time.Second
	// hintEvery is how long names gather after a hint; hintAllEvery after one for everybody, or after one that failed.
	hintEvery    = 200 * time.Millisecond
	hintAllEvery = time.Second
	// hintLimit bounds one hint.
	hintLimit = time.Second
	// maxHinted is how many users are named in a hint; above it everybody is meant. Names have at most 30 bytes.
	maxHinted = 4096
)

// names is a set of users that stays small: what is too much for it is everybody.
type names struct {
	users    map[string]struct{}
	everyone bool
}

func (n *names) add(user string) {
	switch {
	case n.everyone:
	case len(n.users) >= maxHinted:
		n.users, n.everyone = nil, true
	default:
		if n.users == nil {
			n.users = make(map[string]struct{})
		}
		n.users[user] = struct{}{}
	}
}

func (n *names) addAll(other names) {
	if other.everyone {
		n.users, n.everyone = nil, true
	}
	for user := range other.users {
		n.add(user)
	}
}

func (n *names) empty() bool { return !n.everyone && len(n.users) == 0 }

// take returns what is in the set, and empties it.
func (n *names) take() names {
	all := *n
	*n = names{}
	return all
}

// size is how many there are, or the most that there can be.
func (n *names) size() float64 {
	if n.everyone {
		return maxHinted
	}
	return float64(len(n.users))
}

// list is what a hint names.
func (n *names) list() []string {
	list := make([]string, 0, len(n.users))
	for user := range n.users {
		list = append(list, user)
	}
	return list
}

// confirmer publishes, asks the bus now and then whether it has taken what was published, and tells the readers of what it
// may not have taken another way. No send waits for that: its message is committed, and a process that dies before the hint would
// have lost the event as well.
type confirmer struct {
	bus     bus.Publisher
	hints   bus.Hinter
	log     *slog.Logger
	metrics *Metrics

	// order is held while something is published and noted, and while what was noted is taken: so that a Flush which
	// begins, or has ended, covers all that is taken with it.
	order sync.Mutex
	mu    sync.Mutex
	// published is to be confirmed, missed to be hinted.
	published, missed names
	// doubtful: the bus did not confirm what it was last asked about, or was away.
	doubtful bool

	// untold: the last hint failed. Only who hints looks at it.
	untold bool
	// wake is there when something is missed.
	wake   chan struct{}
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// newConfirmer starts one. Without hints it only publishes.
func newConfirmer(b bus.Publisher, hints bus.Hinter, log *slog.Logger, m *Metrics) *confirmer {
	c := &confirmer{bus: b, hints: hints, log: log, metrics: m, wake: make(chan struct{}, 1), cancel: func() {}}
	if hints == nil {
		return c
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.tasks.Go(func() { c.confirm(ctx) })
	c.tasks.Go(func() { c.tell(ctx) })
	return c
}

// publish hands a payload of one user's to the bus.
func (c *confirmer) publish(user string, payload []byte, traces []string) error {
	return c.note([]string{user}, func() error { return c.bus.Publish(user, payload, traces) })
}

// publishRoom hands a payload to the bus that tells these users something.
func (c *confirmer) publishRoom(users []string, payload []byte, traces []string) error {
	return c.note(users, func() error { return c.bus.PublishRoom(payload, traces) })
}

// note publishes something, and notes for whom.
func (c *confirmer) note(users []string, publish func() error) error {
	if c.hints == nil {
		return publish()
	}
	c.order.Lock()
	defer c.order.Unlock()
	err := publish()
	if err != nil {
		c.lost(users, err)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, user := range users {
		c.published.add(user)
	}
	return nil
}

// lost notes that events of users were not published.
func (c *confirmer) lost(users []string, err error) {
	var these names
	for _, user := range users {
		these.add(user)
	}
	if errors.Is(err, bus.ErrDisconnected) {
		c.doubt(these, err)
		return
	}
	c.miss(these)
}

// doubt notes what the bus may have lost because something is wrong with it.
func (c *confirmer) doubt(these names, err error) {
	c.mu.Lock()
	begins := !c.doubtful
	c.doubtful = true
	c.mu.Unlock()
	if begins {
		c.log.Warn("the bus does not confirm what is published: readers are told by hints", "error", err.Error())
	}
	c.miss(these)
}

func (c *confirmer) miss(these names) {
	if these.empty() {
		return
	}
	c.mu.Lock()
	c.missed.addAll(these)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// confirm asks the bus, as long as there is something to ask about.
func (c *confirmer) confirm(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.flush()
		case <-ctx.Done():
			return
		}
	}
}

// flush asks the bus once. It is not cut short by the end: what is asked then has to be answered.
func (c *confirmer) flush() {
	asked, idle := c.takePublished()
	if idle {
		return
	}
	c.metrics.unconfirmed.Set(asked.size())
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := c.bus.Flush(ctx); err != nil {
		meanwhile, _ := c.takePublished() // of these the bus will say nothing either
		asked.addAll(meanwhile)
		c.doubt(asked, err)
		return
	}
	c.metrics.unconfirmed.Set(0)
	c.mu.Lock()
	ends := c.doubtful
	c.doubtful = false
	c.mu.Unlock()
	if ends {
		c.log.Info("the bus confirms again what is published")
	}
}

// takePublished takes what is to be confirmed; idle means that there is nothing, and no doubt either.
func (c *confirmer) takePublished() (these names, idle bool) {
	c.order.Lock()
	defer c.order.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	these = c.published.take()
	return these, these.empty() && !c.doubtful
}

// tell hints at what was missed. While a hint is under way, and a moment after it, the next gathers.
func (c *confirmer) tell(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(c.hint()):
		case <-ctx.Done():
			return
		}
	}
}

// hint sends what was missed and returns when to send the next. What could not be sent is kept.
func (c *confirmer) hint() (pause time.Duration) {
	c.mu.Lock()
	these := c.missed.take()
	c.mu.Unlock()
	if these.empty() {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), hintLimit)
	defer cancel()
	if err := c.hints.Hint(ctx, these.list()); err != nil {
		c.metrics.hints.WithLabelValues("failed").Inc()
		if !c.untold {
			c.untold = true
			c.log.Warn("hints fail, too: readers wait until their inboxes are verified", "error", err.Error())
		}
		c.miss(these)
		return hintAllEvery
	}
	if c.untold {
		c.untold = false
		c.log.Info("readers are told by hints again")
	}
	c.metrics.hints.WithLabelValues("sent").Inc()
	if these.everyone {
		return hintAllEvery
	}
	return hintEvery
}

// stop ends the confirmer, having asked and told what was left.
func (c *confirmer) stop() {
	c.cancel()
	c.tasks.Wait()
	if c.hints == nil {
		return
	}
	c.flush()
	c.hint()
}
