package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/report"
	"github.com/sealpost/sealpost/pkg/api"
)

// Deliver is the scenario in which users send to each other and all read.
type Deliver struct {
	Target
	Users int
	// Accounts is the number of accounts: those beyond Users do nothing.
	Accounts int
	// FanOut is the number of users that each message goes to, or "all".
	FanOut string
	// Streams makes all users read by streams instead of polls.
	Streams bool
	// Size is the length of a message's content, in characters.
	Size int
	// Rate is how many messages all users together send a second, whatever the server does; 0 for a closed loop, in which each of
	// Concurrency senders sends again as soon as it is answered.
	Rate float64
	// Concurrency is the number of sends under way at once; with a rate, the maximum.
	Concurrency int
	// Warmup is how long there is load before measuring begins, Duration how long measuring lasts.
	Warmup, Duration time.Duration
	// Patience is how long to wait without any arrival before a message counts as missing.
	Patience time.Duration
}

func (d *Deliver) validate() error {
	switch {
	case d.Users < 2 || d.Users > 100_000 || d.Accounts < 0 || d.Accounts > 10_000_000:
		return errors.New("there must be from 2 to 100000 users, and at most 10000000 accounts")
	case d.Size < check.StampBytes:
		return fmt.Errorf("a message must have at least %d characters", check.StampBytes)
	case d.Concurrency < 1 || d.Rate < 0 || d.Duration <= 0 || d.Warmup < 0 || d.Patience <= 0:
		return errors.New("concurrency, duration and patience must be positive, and rate and warm-up not negative")
	}
	return nil
}

// Run runs the scenario.
func (d *Deliver) Run(ctx context.Context, scenario string) (*report.Report, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	n, err := fanOut(d.FanOut, d.Users)
	if err != nil {
		return nil, err
	}
	if n > api.MaxRecipients {
		return nil, fmt.Errorf("a message can have at most %d recipients", api.MaxRecipients)
	}
	b, err := newBench(d.Target, scenario)
	if err != nil {
		return nil, err
	}
	d.describe(b, n)
	users, err := b.users(ctx, max(d.Users, d.Accounts))
	if err != nil {
		return nil, err
	}
	users = users[:d.Users]
	run := check.NewRun(rand.Uint32(), d.Users)
	readers, err := newReaders(ctx, b, run, users)
	if err != nil {
		return nil, err
	}
	readers.streams = d.Streams
	list, err := letters(users, n, d.Size)
	if err != nil {
		return nil, err
	}
	return d.measure(ctx, b, run, readers, list)
}

func (d *Deliver) describe(b *bench, fanOut int) {
	b.setting("users", d.Users)
	if d.Accounts > d.Users {
		b.setting("accounts", d.Accounts)
	}
	b.setting("fan-out", fanOut)
	b.setting("readers", readingBy(d.Streams))
	b.setting("size", d.Size)
	if d.Rate > 0 {
		b.setting("rate", d.Rate)
	} else {
		b.setting("rate", "closed loop")
	}
	b.setting("concurrency", d.Concurrency)
	b.setting("warm-up", d.Warmup)
	b.setting("duration", d.Duration)
}

func (d *Deliver) measure(ctx context.Context, b *bench, run *check.Run, r *readers, list []*letter) (*report.Report, error) {
	if err := b.metrics.begin(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	from, end := began.Add(d.Warmup), began.Add(d.Warmup+d.Duration)
	r.from, r.to, r.delivery = from, end, measure.NewSeries("delivery", from)
	s := &senders{
		b: b, run: run, letters: list, end: end, concurrency: d.Concurrency, from: from,
		accepted: measure.NewSeries("send", from), late: measure.NewSeries("begun late", from),
	}
	if d.Rate > 0 {
		s.schedule = measure.NewSchedule(began, end, d.Rate)
	}
	stop := b.watch(func() string {
		return fmt.Sprintf("%d sends accepted (p99 %s), %d deliveries (p99 %s)", s.accepted.Count(), round(s.accepted.Quantile(99)),
			run.Arrived(), round(r.delivery.Quantile(99)))
	})
	r.start(ctx)
	before := b.readingAt(ctx, run, from)
	s.send(ctx)
	r.await(ctx, d.Patience)
	err := b.cost(run, before)
	r.finish(ctx, d.Patience)
	stop()
	if err := errors.Join(ctx.Err(), err); err != nil {
		return nil, err
	}
	b.report.Figure("sends accepted", s.accepted.Rate(), "/s")
	b.report.Figure("deliveries", r.delivery.Rate(), "/s")
	v := run.Judge()
	return b.finish(ctx, began, &v, s.accepted, r.delivery, s.late)
}

func readingBy(streams bool) string {
	if streams {
		return "streams"
	}
	return "polls"
}

func round(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
