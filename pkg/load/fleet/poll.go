package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/pkg/load/answer"
	"github.com/sealpost/sealpost/pkg/load/measure"
	"github.com/sealpost/sealpost/pkg/load/wire"
)

const (
	// pollMargin is how much longer than its wait a poll may take.
	pollMargin = 15 * time.Second
	pollLimit  = 1000
)

// poll is one client that polls all the time.
type poll struct {
	worker *worker
	index  int
	token  string
	cursor string
	conn   *wire.Conn
	answer answer.Poll
	// since is when the client began to wait, in nanoseconds since 1970; 0 while it does not.
	since atomic.Int64
}

// run polls until ctx ends.
func (p *poll) run(ctx context.Context, ramp time.Duration) {
	defer p.conn.Close()
	timer := measure.StoppedTimer()
	if !measure.Until(ctx, timer, time.Now().Add(rand.N(ramp+1))) {
		return
	}
	once := p.once
	if p.worker.job.Streams {
		once = p.stream
	}
	for ctx.Err() == nil {
		p.since.CompareAndSwap(0, time.Now().UnixNano())
		asked, err := once(ctx)
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

// once makes one poll and returns how long the server asks to wait before the next.
func (p *poll) once(ctx context.Context) (time.Duration, error) {
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

// took tells of what p.answer has brought, and goes on from there.
func (p *poll) took(at int64) {
	if len(p.answer.Messages)+len(p.answer.Skipped) > 0 {
		p.worker.arrived(Arrival{
			Poll: p.index, Messages: slices.Clone(p.answer.Messages), Skipped: slices.Clone(p.answer.Skipped),
			Position: p.answer.Position, At: at,
		})
	}
	p.cursor = p.answer.Cursor
}

// streamPatience is longer than the time between two heartbeats.
const streamPatience = 40 * time.Second

// stream reads one stream to its end, and returns how long the server asks to wait before the next.
func (p *poll) stream(ctx context.Context) (time.Duration, error) {
	var id, name, data []byte
	a, err := p.conn.Stream(ctx, wire.Request{
		Method: http.MethodGet, Path: "/api/messages/stream?after=" + p.cursor, Token: p.token, Timeout: streamPatience,
	}, func(line []byte) (err error) {
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch string(field) {
		case "id":
			id = append(id[:0], value...)
		case "event":
			name = append(name[:0], value...)
		case "data":
			data = append(data[:0], value...)
		}
		if len(line) == 0 && len(data) > 0 {
			err = p.event(string(id), string(name), string(data))
			name, data = name[:0], data[:0]
		}
		return err
	})
	switch {
	case ctx.Err() != nil || errors.Is(err, wire.ErrBroken):
		return 0, err
	case err != nil:
		p.worker.count("stream error")
		return 0, err
	}
	p.worker.count(fmt.Sprintf("stream %d", a.Status))
	if a.Status != http.StatusOK {
		return a.RetryAfter, fmt.Errorf("status %d", a.Status)
	}
	return 0, nil
}

// event takes an event of a stream in: a message, or positions that hold nothing. It is read as the answer to a poll that brings
// only that.
func (p *poll) event(id, name, data string) error {
	at := time.Now().UnixNano()
	epoch, _, _ := strings.Cut(p.cursor, ".")
	body := fmt.Sprintf(`{"type":"messages","messages":[%s],"cursor":"%s.%s"}`, data, epoch, id)
	switch name {
	case "":
	case "skipped":
		body = fmt.Sprintf(`{"type":"timeout",%s,"cursor":"%s.%s"}`, strings.Trim(data, "{}"), epoch, id)
	default:
		return fmt.Errorf("an event %q: %s", name, data)
	}
	if err := p.answer.Parse([]byte(body)); err != nil {
		p.worker.count("stream unreadable")
		return err
	}
	p.took(at)
	return nil
}

// dropIn drops the connection after a while.
func (p *poll) dropIn(ctx context.Context, after time.Duration) {
	if measure.Until(ctx, measure.StoppedTimer(), time.Now().Add(after)) {
		p.conn.Break()
	}
}
