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

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/report"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
)

// Inbox is the scenario that fills one user's inbox while nobody reads. It measures sends to the inbox, and reads from anywhere in it, when
// it is small and when it is full.
type Inbox struct {
	Target
	// Messages is the number of messages at the end. The same is measured before, with fewMessages.
	Messages    int
	Size        int
	Concurrency int
	// Polls is the number of reads each time, one after another, each of Limit messages after a random position.
	Polls, Limit int
	// Duration is how long sends are measured each time, in a closed loop.
	Duration time.Duration
	Patience time.Duration
}

// fewMessages is the size of a small inbox.
const fewMessages = 1000

func (in *Inbox) validate() error {
	if in.Messages < 1 || in.Size < check.StampBytes || in.Concurrency < 1 || in.Polls < 1 || in.Limit < 1 || in.Limit > pollLimit ||
		in.Duration <= 0 || in.Patience <= 0 {
		return errors.New("messages, concurrency, polls, limit (at most 1000), duration and patience must be positive, and a size that of a stamp at least")
	}
	return nil
}

// filling is an Inbox scenario in progress.
type filling struct {
	*Inbox
	b      *bench
	run    *check.Run
	reader *reader
	letter *letter
	// sent is the number of accepted messages.
	sent atomic.Int64
}

// Run runs the scenario.
func (in *Inbox) Run(ctx context.Context) (*report.Report, error) {
	if err := in.validate(); err != nil {
		return nil, err
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
	f := &filling{Inbox: in, b: b, run: run, reader: readers.list[1], letter: l}
	began := time.Now()
	stop := b.watch(func() string { return fmt.Sprintf("%d sent", f.sent.Load()) })
	list, err := f.measure(ctx)
	stop()
	if err != nil {
		return nil, err
	}
	readers.start(ctx)
	readers.await(ctx, in.Patience)
	readers.finish(ctx, in.Patience)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v := run.Judge()
	return b.finish(ctx, began, &v, list...)
}

// measure fills the inbox, and measures when it is small and when it is full.
func (f *filling) measure(ctx context.Context) (list []*measure.Series, err error) {
	sizes := []int{f.Messages}
	if f.Messages > fewMessages {
		sizes = []int{fewMessages, f.Messages}
	}
	for _, n := range sizes {
		f.fill(ctx, int64(n), nil)
		with := fmt.Sprintf(" with %d", n)
		polls := measure.NewSeries("poll"+with, time.Now())
		if err := f.read(ctx, n, polls); err != nil {
			return nil, err
		}
		sends := measure.NewSeries("send"+with, time.Now())
		f.fill(ctx, 0, sends)
		f.b.report.Figure("sends accepted"+with, sends.Rate(), "/s")
		f.b.report.Figure("median poll"+with, float64(polls.Quantile(50).Microseconds())/1000, "ms")
		list = append(list, sends, polls)
	}
	return list, ctx.Err()
}

// fill sends until upTo messages have been accepted; if took is set, until Duration is over.
func (f *filling) fill(ctx context.Context, upTo int64, took *measure.Series) {
	now := time.Now()
	end := now.Add(f.Duration)
	if took == nil {
		took = measure.NewSeries("fill", now)
	}
	s := &senders{b: f.b, run: f.run, letters: []*letter{f.letter}, accepted: took, from: now}
	more := func() bool {
		if upTo == 0 {
			return time.Now().Before(end)
		}
		return f.sent.Load() < upTo
	}
	var sending sync.WaitGroup
	for i := range f.Concurrency {
		sending.Go(func() {
			one := newSender(s, i)
			defer one.conn.Close()
			for ctx.Err() == nil && more() {
				asked := one.send(ctx, f.letter, time.Now())
				if asked == 0 {
					f.sent.Add(1)
				} else if !measure.Pause(ctx, one.timer, asked) {
					return
				}
			}
		})
	}
	sending.Wait()
}

// read polls from random positions.
func (f *filling) read(ctx context.Context, messages int, took *measure.Series) error {
	conn := wire.NewConn(f.b.server(1), "")
	defer conn.Close()
	for range f.Polls {
		path := fmt.Sprintf("/api/messages/poll?wait=0&limit=%d&after=%d", f.Limit, rand.N(max(1, messages-f.Limit+1)))
		at := time.Now()
		a, err := conn.Do(ctx, wire.Request{Method: http.MethodGet, Path: path, Token: f.reader.user.token, Timeout: callTimeout})
		f.b.tally.count("random poll", a.Status, err)
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
