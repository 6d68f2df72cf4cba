package load

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/report"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
	"github.com/sealpost/sealpost/pkg/api"
)

// Login is the scenario in which users log in repeatedly.
type Login struct {
	Target
	Users int
	// Rate is the number of logins a second; 0 for a closed loop.
	Rate             float64
	Concurrency      int
	Warmup, Duration time.Duration
}

// Run runs the scenario.
func (l *Login) Run(ctx context.Context) (*report.Report, error) {
	if l.Users < 1 || l.Concurrency < 1 || l.Rate < 0 || l.Duration <= 0 || l.Warmup < 0 {
		return nil, errors.New("users, concurrency and duration must be positive, and rate and warm-up not negative")
	}
	b, err := newBench(l.Target, "login")
	if err != nil {
		return nil, err
	}
	b.setting("users", l.Users)
	b.setting("rate", l.Rate)
	b.setting("concurrency", l.Concurrency)
	b.setting("duration", l.Duration)
	users, err := b.users(ctx, l.Users)
	if err != nil {
		return nil, err
	}
	if err := b.metrics.begin(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	from, end := began.Add(l.Warmup), began.Add(l.Warmup+l.Duration)
	took := measure.NewSeries("login", from)
	stop := b.watch(func() string { return round(took.Quantile(99)).String() + " p99" })
	l.logins(ctx, b, users, took, began, end)
	stop()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.report.Figure("logins", took.Rate(), "/s")
	return b.finish(ctx, began, nil, took)
}

func (l *Login) logins(ctx context.Context, b *bench, users []user, took *measure.Series, began, end time.Time) {
	var schedule *measure.Schedule
	if l.Rate > 0 {
		schedule = measure.NewSchedule(began, end, l.Rate)
	}
	var running sync.WaitGroup
	for i := range l.Concurrency {
		running.Go(func() {
			conn, timer := wire.NewConn(b.server(i), ""), measure.StoppedTimer()
			defer conn.Close()
			for turn := i; ctx.Err() == nil; turn += l.Concurrency {
				at, ok := time.Now(), true
				if schedule != nil {
					at, ok = schedule.Next(ctx, timer)
				}
				if !ok || !at.Before(end) {
					return
				}
				asked := b.login(ctx, conn, users[turn%len(users)].name, at, took)
				if asked > 0 && schedule == nil && !measure.Pause(ctx, timer, asked) {
					return
				}
			}
		})
	}
	running.Wait()
}

// login logs in once, and returns how long the server asks to wait.
func (b *bench) login(ctx context.Context, conn *wire.Conn, name string, at time.Time, took *measure.Series) time.Duration {
	body, err := json.Marshal(api.LoginRequest{Username: name, Password: b.Password})
	if err != nil {
		return 0
	}
	a, err := conn.Do(ctx, wire.Request{Method: http.MethodPost, Path: "/api/auth/login", Body: body, Timeout: callTimeout})
	now := time.Now()
	b.tally.count("login", a.Status, err)
	if err != nil || a.Status != http.StatusOK {
		return max(a.RetryAfter, 10*time.Millisecond)
	}
	if !at.Before(took.Start()) {
		took.Record(now, now.Sub(at))
	}
	return 0
}
