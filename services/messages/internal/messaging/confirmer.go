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
	// flushEvery is how often the bus is asked to confirm what was published; flushLimit is the timeout of its answer. Together
	// they bound how late readers learn of events that went into a dead connection.
	flushEvery = 500 * time.Millisecond
	flushLimit = time.Second
	// hintEvery is how long names are gathered after a hint; hintAllEvery after a hint for everybody or a failed one.
	hintEvery    = 200 * time.Millisecond
	hintAllEvery = time.Second
	// hintLimit is the timeout of one hint.
	hintLimit = time.Second
	// maxHinted is how many users a hint names; above it the hint means everybody. Names have at most 30 bytes.
	maxHinted = 4096
)

// names is a set of users of bounded size: when it overflows, it means everybody.
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

// take returns the set and empties it.
func (n *names) take() names {
	all := *n
	*n = names{}
	return all
}

// size is how many users there are, or the maximum for everybody.
func (n *names) size() float64 {
	if n.everyone {
		return maxHinted
	}
	return float64(len(n.users))
}

// list returns the names for a hint.
func (n *names) list() []string {
	list := make([]string, 0, len(n.users))
	for user := range n.users {
		list = append(list, user)
	}
	return list
}

// confirmer publishes, regularly asks the bus to confirm what was published, and sends hints for what the bus may not have taken.
// No send waits for that: its message is committed, and a process that dies before the hint would have lost the event as well.
type confirmer struct {
	bus     bus.Publisher
	hints   bus.Hinter
	log     *slog.Logger
	metrics *Metrics

	// order is held while something is published and noted, and while what was noted is taken. So a Flush that begins after taking,
	// or ended before it, covers everything taken.
	order sync.Mutex
	mu    sync.Mutex
	// published waits for confirmation, missed for a hint.
	published, missed names
	// doubtful: the bus did not confirm the last Flush, or was away.
	doubtful bool

	// hintFailed: the last hint failed. Only the hinting goroutine uses it.
	hintFailed bool
	// wake has a value when something is missed.
	wake   chan struct{}
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// newConfirmer starts a confirmer. Without hints it only publishes.
func newConfirmer(b bus.Publisher, hints bus.Hinter, log *slog.Logger, m *Metrics) *confirmer {
	c := &confirmer{bus: b, hints: hints, log: log, metrics: m, wake: make(chan struct{}, 1), cancel: func() {}}
	if hints == nil {
		return c
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.tasks.Go(func() { c.confirm(ctx) })
	c.tasks.Go(func() { c.hintLoop(ctx) })
	return c
}

// publish publishes a payload with events of one user.
func (c *confirmer) publish(user string, payload []byte, traces []string) error {
	return c.note([]string{user}, func() error { return c.bus.Publish(user, payload, traces) })
}

// publishRoom publishes a payload with events of these users.
func (c *confirmer) publishRoom(users []string, payload []byte, traces []string) error {
	return c.note(users, func() error { return c.bus.PublishRoom(payload, traces) })
}

// note runs publish and notes its users.
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

// lost notes that events of these users were not published.
func (c *confirmer) lost(users []string, err error) {
	var these names
	for _, user := range users {
		these.add(user)
	}
	if errors.Is(err, bus.ErrDisconnected) {
		c.mayBeLost(these, err)
		return
	}
	c.miss(these)
}

// mayBeLost notes that the bus may have lost events of these users, because of err.
func (c *confirmer) mayBeLost(these names, err error) {
	c.mu.Lock()
	begins := !c.doubtful
	c.doubtful = true
	c.mu.Unlock()
	if begins {
		c.log.Warn("the bus does not confirm publications: readers are told by hints", "error", err.Error())
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

// confirm flushes regularly while anything is unconfirmed.
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

// flush asks the bus once to confirm. The end of the confirmer does not cancel it: the last question needs its answer.
func (c *confirmer) flush() {
	asked, idle := c.takePublished()
	if idle {
		return
	}
	c.metrics.unconfirmed.Set(asked.size())
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := c.bus.Flush(ctx); err != nil {
		meanwhile, _ := c.takePublished() // the bus will not confirm these either
		asked.addAll(meanwhile)
		c.mayBeLost(asked, err)
		return
	}
	c.metrics.unconfirmed.Set(0)
	c.mu.Lock()
	ends := c.doubtful
	c.doubtful = false
	c.mu.Unlock()
	if ends {
		c.log.Info("the bus confirms publications again")
	}
}

// takePublished takes what is unconfirmed. idle means that nothing is unconfirmed and there is no doubt.
func (c *confirmer) takePublished() (these names, idle bool) {
	c.order.Lock()
	defer c.order.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	these = c.published.take()
	return these, these.empty() && !c.doubtful
}

// hintLoop hints at missed events. While a hint is under way, and a moment after it, names gather for the next.
func (c *confirmer) hintLoop(ctx context.Context) {
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

// hint hints at what was missed and returns the pause before the next. It keeps what it could not send.
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
		if !c.hintFailed {
			c.hintFailed = true
			c.log.Warn("hints fail too: readers wait for the next verification", "error", err.Error())
		}
		c.miss(these)
		return hintAllEvery
	}
	if c.hintFailed {
		c.hintFailed = false
		c.log.Info("readers are told by hints again")
	}
	c.metrics.hints.WithLabelValues("sent").Inc()
	if these.everyone {
		return hintAllEvery
	}
	return hintEvery
}

// stop ends the confirmer after a last Flush and hint.
func (c *confirmer) stop() {
	c.cancel()
	c.tasks.Wait()
	if c.hints == nil {
		return
	}
	c.flush()
	c.hint()
}
