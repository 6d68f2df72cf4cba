package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/load/check"
	"github.com/sealpost/sealpost/pkg/load/measure"
	"github.com/sealpost/sealpost/pkg/load/wire"
)

// readers are users that poll all the time, as clients do.
type readers struct {
	b        *bench
	run      *check.Run
	list     []*reader
	delivery *measure.Series
	// from and to bound the sends whose deliveries are measured, by the time they were to be made.
	from, to time.Time

	reading sync.WaitGroup
	stop    context.CancelFunc
}

type reader struct {
	of     *readers
	user   *user
	conn   *wire.Conn
	check  *check.Reader
	answer answer
	cursor string
}

// newReaders makes readers of the users' inboxes, from where those stand now.
func newReaders(ctx context.Context, b *bench, run *check.Run, users []user) (*readers, error) {
	r := &readers{b: b, run: run, list: make([]*reader, len(users))}
	finding, ctx := errgroup.WithContext(ctx)
	finding.SetLimit(2 * registrations)
	for i := range users {
		finding.Go(func() error {
			one := &reader{of: r, user: &users[i], conn: wire.NewConn(b.server(i), ""), check: run.Reader(i), cursor: "latest"}
			r.list[i] = one
			if _, err := one.poll(ctx, 0); err != nil {
				return fmt.Errorf("the inbox of %s: %w", users[i].name, err)
			}
			users[i].cursor = one.cursor
			return nil
		})
	}
	return r, finding.Wait()
}

// start has all of them read until finish.
func (r *readers) start(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	for _, one := range r.list {
		r.reading.Go(func() { one.read(ctx) })
	}
}

// finish waits until everything that was accepted has arrived, or nothing more arrives for as long as patience, stops
// the readers, and has each look once more for what nobody expects.
func (r *readers) finish(ctx context.Context, patience time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	arrived, since := r.run.Arrived(), time.Now()
	for r.run.Outstanding() > 0 && time.Since(since) < patience && ctx.Err() == nil {
		<-tick.C
		if now := r.run.Arrived(); now > arrived {
			arrived, since = now, time.Now()
		}
	}
	r.stop()
	r.reading.Wait()
	var sweeping errgroup.Group
	sweeping.SetLimit(2 * registrations)
	for _, one := range r.list {
		sweeping.Go(func() error {
			one.sweep(ctx, patience)
			return nil
		})
	}
	_ = sweeping.Wait() // what it does not find is judged to be missing
}

// read polls until ctx ends.
func (r *reader) read(ctx context.Context) {
	timer := stoppedTimer()
	for ctx.Err() == nil {
		asked, err := r.poll(ctx, pollWait)
		if err != nil && !pause(ctx, timer, asked) {
			return
		}
	}
}

// sweep reads on until there is nothing more.
func (r *reader) sweep(ctx context.Context, patience time.Duration) {
	r.conn.Mend()
	defer r.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for timer := stoppedTimer(); ; {
		asked, err := r.poll(ctx, 0)
		switch {
		case err != nil && !pause(ctx, timer, asked):
			return
		case err == nil && len(r.answer.messages)+len(r.answer.skipped) == 0:
			return
		}
	}
}

// poll makes one poll and takes its answer in. It returns how long the server asks to wait.
func (r *reader) poll(ctx context.Context, wait time.Duration) (time.Duration, error) {
	path := fmt.Sprintf("/api/messages/poll?limit=%d&wait=%d&after=%s", pollLimit, int(wait.Seconds()), r.cursor)
	a, err := r.conn.Do(ctx, wire.Request{Method: http.MethodGet, Path: path, Token: r.user.token, Timeout: wait + pollMargin})
	now := time.Now()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	r.of.b.tally.count("poll", a.Status, err)
	if err != nil {
		return 0, err
	}
	if a.Status != http.StatusOK {
		return a.RetryAfter, fmt.Errorf("status %d: %.200s", a.Status, a.Body)
	}
	if err := r.answer.parse(a.Body); err != nil {
		r.of.b.tally.add("poll unreadable", 1)
		return 0, err
	}
	if r.cursor == "latest" {
		r.check.Start(r.answer.position)
	} else {
		r.check.Take(r.answer.messages, r.answer.skipped, r.answer.position)
		r.measure(now)
	}
	r.cursor = r.answer.cursor
	return 0, nil
}

// measure records how long the messages of an answer have taken.
func (r *reader) measure(now time.Time) {
	if r.of.delivery == nil {
		return
	}
	var latencies [pollLimit]time.Duration
	n := 0
	for _, m := range r.answer.messages {
		at := time.Unix(0, m.Stamp.At)
		if m.Stamp.Run == r.of.run.ID && !at.Before(r.of.from) && at.Before(r.of.to) && n < len(latencies) {
			latencies[n] = now.Sub(at)
			n++
		}
	}
	r.of.delivery.Record(now, latencies[:n]...)
}

// errNoUsers is for scenarios that need more of them.
var errNoUsers = errors.New("there must be at least two users")
