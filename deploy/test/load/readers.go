package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/deploy/test/load/answer"
	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
)

// readers are users that read continuously, as clients do: by polls or by streams.
type readers struct {
	b        *bench
	run      *check.Run
	list     []*reader
	streams  bool
	delivery *measure.Series
	// from and to bound the sends whose deliveries are measured, by their scheduled times.
	from, to time.Time

	reading sync.WaitGroup
	stop    context.CancelFunc
}

type reader struct {
	of     *readers
	user   *user
	conn   *wire.Conn
	check  *check.Reader
	answer answer.Poll
	cursor string
}

// newReaders makes readers of the users' inboxes, from their current positions.
func newReaders(ctx context.Context, b *bench, run *check.Run, users []user) (*readers, error) {
	positions, err := b.heads(ctx, users)
	r := &readers{b: b, run: run, list: make([]*reader, len(users))}
	for i := range users {
		r.list[i] = &reader{of: r, user: &users[i], conn: wire.NewConn(b.server(i), ""), check: run.Reader(i), cursor: users[i].cursor}
		r.list[i].check.Start(positions[i])
	}
	return r, err
}

// heads finds the current positions of the users' inboxes.
func (b *bench) heads(ctx context.Context, users []user) ([]int64, error) {
	positions := make([]int64, len(users))
	finding, ctx := errgroup.WithContext(ctx)
	finding.SetLimit(2 * registrations)
	for i := range users {
		finding.Go(func() error {
			conn := wire.NewConn(b.server(i), "")
			defer conn.Close()
			var head answer.Poll
			a, err := conn.Do(ctx, wire.Request{
				Method: http.MethodGet, Path: "/api/messages/poll?wait=0&after=latest", Token: users[i].token, Timeout: callTimeout,
			})
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("status %d: %.200s", a.Status, a.Body)
			}
			if err == nil {
				err = head.Parse(a.Body)
			}
			if err != nil {
				return fmt.Errorf("the inbox of %s: %w", users[i].name, err)
			}
			users[i].cursor, positions[i] = head.Cursor, head.Position
			return nil
		})
	}
	return positions, finding.Wait()
}

// start makes all of them read until finish.
func (r *readers) start(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	for _, one := range r.list {
		r.reading.Go(func() { one.read(ctx) })
	}
}

// await waits until every accepted message has arrived, or nothing has arrived for patience.
func (r *readers) await(ctx context.Context, patience time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	arrived, since := r.run.Arrived(), time.Now()
	for r.run.Outstanding() > 0 && time.Since(since) < patience && ctx.Err() == nil {
		<-tick.C
		if now := r.run.Arrived(); now > arrived {
			arrived, since = now, time.Now()
		}
	}
}

// finish stops the readers, and makes each look once more for unexpected messages.
func (r *readers) finish(ctx context.Context, patience time.Duration) {
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
	_ = sweeping.Wait() // what it does not find counts as missing
}

// read reads until ctx ends.
func (r *reader) read(ctx context.Context) {
	timer := measure.StoppedTimer()
	for ctx.Err() == nil {
		asked, err := r.once(ctx)
		if err != nil && !measure.Pause(ctx, timer, asked) {
			return
		}
	}
}

func (r *reader) once(ctx context.Context) (time.Duration, error) {
	if r.of.streams {
		return r.stream(ctx)
	}
	return r.poll(ctx, pollWait)
}

// sweep reads until nothing more comes.
func (r *reader) sweep(ctx context.Context, patience time.Duration) {
	r.conn.Mend()
	defer r.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for timer := measure.StoppedTimer(); ; {
		asked, err := r.poll(ctx, 0)
		switch {
		case err != nil && !measure.Pause(ctx, timer, asked):
			return
		case err == nil && len(r.answer.Messages)+len(r.answer.Skipped) == 0:
			return
		}
	}
}

// poll makes one poll and processes the answer. It returns how long the server asks to wait.
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
	if err := r.answer.Parse(a.Body); err != nil {
		r.of.b.tally.add("poll unreadable", 1)
		return 0, err
	}
	r.take(now)
	return 0, nil
}

// stream reads one stream until it ends, and returns how long the server asks to wait.
func (r *reader) stream(ctx context.Context) (time.Duration, error) {
	a, err := r.conn.Listen(ctx, wire.Request{Method: http.MethodGet, Path: "/api/messages/stream?after=" + r.cursor, Token: r.user.token, Timeout: streamSilence},
		func(e wire.Event) error {
			now := time.Now()
			if err := r.answer.ParseEvent(e.Name, e.ID, e.Data); err != nil {
				r.of.b.tally.add("event unreadable", 1)
				return err
			}
			r.take(now)
			return nil
		})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		r.of.b.tally.add("stream ended", 1)
		return 0, err
	}
	r.of.b.tally.count("stream", a.Status, err)
	if err == nil {
		err = fmt.Errorf("status %d: %.200s", a.Status, a.Body)
	}
	return a.RetryAfter, err
}

// take processes an answer or an event.
func (r *reader) take(now time.Time) {
	r.check.Take(r.answer.Messages, r.answer.Skipped, r.answer.Position)
	r.measure(now)
	r.cursor = r.answer.Cursor
}

// measure records the latencies of the messages of an answer.
func (r *reader) measure(now time.Time) {
	if r.of.delivery == nil {
		return
	}
	var latencies [pollLimit]time.Duration
	n := 0
	for _, m := range r.answer.Messages {
		at := time.Unix(0, m.Stamp.At)
		if m.Stamp.Run == r.of.run.ID && !at.Before(r.of.from) && at.Before(r.of.to) && n < len(latencies) {
			latencies[n] = now.Sub(at)
			n++
		}
	}
	r.of.delivery.Record(now, latencies[:n]...)
}
