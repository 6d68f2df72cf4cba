package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

// follow reads a stream for a while.
func (r *device) follow() (nothing bool) {
	w := r.w
	n := w.serving(r.d, true)
	lasts := r.d.between(time.Second, 2*time.Minute)
	if w.closing {
		lasts = 20 * time.Second // longer than a heartbeat
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	began, heartbeats, news := time.Now(), 0, 0
	var rest []byte
	q := request{method: http.MethodGet, url: "/api/messages/stream?after=" + r.cursor, token: r.token()}
	restored := w.restored
	w.count("streams")
	response, err := w.send(ctx, r.d, n, q, func(chunk []byte) error {
		rest = append(rest, chunk...)
		if r.attentive.IsZero() {
			r.attentive = began
		}
		for {
			event, left, found := bytes.Cut(rest, []byte("\n\n"))
			if !found {
				return nil
			}
			rest = left
			if bytes.HasPrefix(event, []byte("retry: ")) && bytes.Contains(event, []byte("\nevent: cursor\n")) {
				r.event(string(event))
				continue
			}
			if bytes.HasPrefix(event, []byte(":")) {
				heartbeats++
				if err := r.judgeHeartbeats(heartbeats, time.Since(began)); err != nil {
					return err
				}
				continue
			}
			news++
			r.event(string(event))
		}
	})
	w.note("%s was a stream of node %d for %s: %d %v", r, n.place, time.Since(began).Round(time.Millisecond), response.status, err)
	if restored != w.restored { // its positions mean nothing now
		r.cursor, r.position = "0", 0
	}
	if ctx.Err() == nil || w.closing {
		r.attentive = time.Time{}
		_ = w.sleep(context.Background(), r.d.between(10*time.Millisecond, 2*time.Second))
	}
	return err != nil && ctx.Err() != nil && news == 0 && heartbeats > 0
}

// judgeHeartbeats checks how many came within a time, and breaks off if they come all the time.
func (r *device) judgeHeartbeats(heartbeats int, within time.Duration) error {
	if most := 3 + int(within/(14*time.Second)); heartbeats == most+3 {
		r.w.fault("%s was sent %d heartbeats within %s", r, heartbeats, within.Round(time.Millisecond))
	}
	if heartbeats > 200 {
		return errReset
	}
	return nil
}

// event processes one event of a stream.
func (r *device) event(text string) {
	var kind, id, data string
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			data = value
		}
	}
	epoch, position := parseCursor(id)
	switch kind {
	case "reset":
		r.reset(epoch, id)
		return
	case "cursor": // where a stream stands on which there is nothing yet
	case "skipped":
		var told struct{ Skipped []int64 }
		if err := json.Unmarshal([]byte(data), &told); err != nil {
			r.w.fault("%s was sent %q", r, text)
		}
		r.answered(epoch, r.position, position, nil, told.Skipped, false)
	default:
		var m api.Message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			r.w.fault("%s was sent %q", r, text)
		}
		r.answered(epoch, r.position, position, []api.Message{m}, nil, false)
	}
	r.epoch, r.position, r.cursor = epoch, position, id
	if r.kind == byNumber {
		r.cursor = strconv.FormatInt(position, 10)
	}
}
