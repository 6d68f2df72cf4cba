package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/pkg/load/check"
	"github.com/sealpost/sealpost/pkg/load/measure"
	"github.com/sealpost/sealpost/pkg/load/report"
	"github.com/sealpost/sealpost/pkg/load/wire"
)

// Inbox is the scenario in which one user's inbox is filled while nobody reads, and then read from anywhere.
type Inbox struct {
	Target
	Messages    int
	Size        int
	Concurrency int
	// Polls is how many reads there are, one after the other, each of Limit messages after a random position.
	Polls, Limit int
	Patience     time.Duration
}

// Run runs it.
func (in *Inbox) Run(ctx context.Context) (*report.Report, error) {
	if in.Messages < 1 || in.Size < check.StampBytes || in.Concurrency < 1 || in.Polls < 1 || in.Limit < 1 || in.Limit > pollLimit || in.Patience <= 0 {
		return nil, errors.New("messages, concurrency, polls, limit (at most 1000) and patience must be positive, and a size that of a stamp at least")
	}
	b, err := newBench(in.Target, "inbox")
	if err != nil {
		return nil, err
	}
	b.setting("messages", in.Messages)
	b.setting("size", in.Size)
	b.setting("concurrency", in.Concurrency)
	b.setting("limit", in.Limit)
	users, err := b.users(ctx, 2)
	if err != nil {
		return nil, err
	}
	run := check.NewRun(rand.Uint32(), 2)
	readers, err := newReaders(ctx, b, run, users)
	if err != nil {
		return nil, err
	}
	l, err := newLetter(users, 0, []int{1}, in.Size)
	if err != nil {
		return nil, err
	}
	if err := b.metrics.begin(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	sent := measure.NewSeries("send", began)
	stop := b.watch(func() string { return fmt.Sprintf("%d sent", sent.Count()) })
	in.fill(ctx, &senders{b: b, run: run, letters: []*letter{l}, accepted: sent, from: began})
	stop()
	polls := measure.NewSeries("poll", time.Now())
	if err := in.read(ctx, b, readers.list[1], polls); err != nil {
		return nil, err
	}
	readers.start(ctx)
	readers.finish(ctx, in.Patience)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.report.Figure("sends accepted", sent.Rate(), "/s")
	b.report.Figure("median poll", float64(polls.Quantile(50).Microseconds())/1000, "ms")
	v := run.Judge()
	return b.finish(ctx, began, &v, sent, polls)
}

// fill sends the messages.
func (in *Inbox) fill(ctx context.Context, s *senders) {
	var left atomic.Int64
	left.Store(int64(in.Messages))
	var sending sync.WaitGroup
	for i := range in.Concurrency {
		sending.Go(func() {
			one := newSender(s, i)
			defer one.conn.Close()
			for ctx.Err() == nil && left.Add(-1) >= 0 {
				if asked := one.send(ctx, s.letters[0], time.Now()); asked > 0 && !measure.Pause(ctx, one.timer, asked) {
					return
				}
			}
		})
	}
	sending.Wait()
}

// read polls from random positions.
func (in *Inbox) read(ctx context.Context, b *bench, r *reader, took *measure.Series) error {
	conn := wire.NewConn(b.server(1), "")
	defer conn.Close()
	for range in.Polls {
		path := fmt.Sprintf("/api/messages/poll?wait=0&limit=%d&after=%d", in.Limit, rand.N(max(1, in.Messages-in.Limit+1)))
		at := time.Now()
		a, err := conn.Do(ctx, wire.Request{Method: http.MethodGet, Path: path, Token: r.user.token, Timeout: callTimeout})
		b.tally.count("random poll", a.Status, err)
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("a poll was answered %d: %.200s", a.Status, a.Body)
		}
		now := time.Now()
		took.Record(now, now.Sub(at))
	}
	return nil
}
