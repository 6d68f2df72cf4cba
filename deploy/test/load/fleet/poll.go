package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/answer"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
)

const (
	// pollMargin is how much longer than its wait a poll may take.
	pollMargin = 15 * time.Second
	// streamSilence is longer than the time between two heartbeats.
	streamSilence = 40 * time.Second
	pollLimit     = 1000
)

// poll is one client that polls continuously.
type poll struct {
	worker *worker
	index  int
	token  string
	cursor string
	conn   *wire.Conn
	answer answer.Poll
	// since is when the client began to wait, in nanoseconds since 1970; 0 while it does not wait.
	since atomic.Int64
}

// run polls until ctx ends.
func (p *poll) run(ctx context.Context, ramp time.Duration) {
	defer p.conn.Close()
	timer := measure.StoppedTimer()
	if !measure.Until(ctx, timer, time.Now().Add(rand.N(ramp+1))) {
		return
	}
	for ctx.Err() == nil {
		p.since.CompareAndSwap(0, time.Now().UnixNano())
		asked, err := p.once(ctx)
		switch {
		case errors.Is(err, wire.ErrBroken):
			p.since.Store(0)
			p.worker.dropped()
			p.conn.Mend()
		case err != nil:
			p.since.Store(0)
			if !measure.Pause(ctx, timer, asked) {
				return
			}
		}
	}
}

// once makes one poll, or reads one stream until it ends, and returns how long the server asks to wait before the next.
func (p *poll) once(ctx context.Context) (time.Duration, error) {
	if p.worker.job.Streams {
		return p.stream(ctx)
	}
	path := fmt.Sprintf("/api/messages/poll?limit=%d&wait=%d&after=%s", pollLimit, int(p.worker.job.Wait.Seconds()), p.cursor)
	a, err := p.conn.Do(ctx, wire.Request{Method: http.MethodGet, Path: path, Token: p.token, Timeout: p.worker.job.Wait + pollMargin})
	at := time.Now().UnixNano()
	switch {
	case ctx.Err() != nil || errors.Is(err, wire.ErrBroken):
		return 0, err
	case err != nil:
		p.worker.count("poll error")
		return 0, err
	}
	p.worker.count(fmt.Sprintf("poll %d", a.Status))
	if a.Status != http.StatusOK {
		return a.RetryAfter, fmt.Errorf("status %d", a.Status)
	}
	if err := p.answer.Parse(a.Body); err != nil {
		p.worker.count("poll unreadable")
		return 0, err
	}
	p.took(at)
	return 0, nil
}

func (p *poll) stream(ctx context.Context) (time.Duration, error) {
	path := "/api/messages/stream?after=" + p.cursor
	a, err := p.conn.Listen(ctx, wire.Request{Method: http.MethodGet, Path: path, Token: p.token, Timeout: streamSilence}, func(e wire.Event) error {
		at := time.Now().UnixNano()
		if err := p.answer.ParseEvent(e.Name, e.ID, e.Data); err != nil {
			p.worker.count("event unreadable")
			return err
		}
		p.took(at)
		return nil
	})
	switch {
	case ctx.Err() != nil || errors.Is(err, wire.ErrBroken):
		return 0, err
	case errors.Is(err, io.EOF):
		p.worker.count("stream ended")
	case err != nil:
		p.worker.count("stream error")
	default:
		p.worker.count(fmt.Sprintf("stream %d", a.Status))
		err = fmt.Errorf("status %d", a.Status)
	}
	return a.RetryAfter, err
}

// took reports an answer or an event that has content.
func (p *poll) took(at int64) {
	if len(p.answer.Messages)+len(p.answer.Skipped) > 0 {
		p.worker.arrived(Arrival{
			Poll: p.index, Messages: slices.Clone(p.answer.Messages), Skipped: slices.Clone(p.answer.Skipped),
			Position: p.answer.Position, At: at,
		})
	}
	p.cursor = p.answer.Cursor
}

// dropIn drops the connection after a delay.
func (p *poll) dropIn(ctx context.Context, after time.Duration) {
	if measure.Until(ctx, measure.StoppedTimer(), time.Now().Add(after)) {
		p.conn.Break()
	}
}
