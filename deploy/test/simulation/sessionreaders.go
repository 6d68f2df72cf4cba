package simulation

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/store"
)

// pollSession polls as a session does: one message a poll, and no cursor. With cookies, it is given again what a proxy took for it, and what
// broke off after the header, with the cookie.
func (r *device) pollSession() (nothing bool) {
	began := time.Now()
	stood, _ := r.w.store.data.session(sessionKey(r.user, r.session()), r.w.store.data.last)
	r.mustNotGoBack(stood)
	q := request{method: http.MethodGet, url: "/api/messages/poll", token: r.token(), sure: true}
	if r.kind == byCookie {
		cookie, _, _ := strings.Cut(r.cookie, ";")
		q.header = map[string]string{"Cookie": cookie}
		// One thing at a time: if a proxy took the answer before, the cursor has moved, and nothing shows that this one was not written.
		q.breaks = !r.w.closing && r.taken == (place{}) && r.d.hit(r.forgetful/2)
	}
	a, response, err := r.ask(q, pollWait)
	if err != nil {
		if response.cookie != "" {
			r.w.count("answer-broken-after-header")
			r.w.note("%s: only the header of the answer has arrived, with %s", r, response.cookie)
			r.cookie, r.broke = response.cookie, shownBy(response.cookie)
		}
		return false
	}
	if r.kind == byCookie {
		if q.header["Cookie"] != "" && r.losesToProxy(response) {
			return false
		}
		stood = r.keepCookie(a, response, stood)
	}
	if r.attentive.IsZero() {
		r.attentive = began
	}
	switch {
	case a.Type == api.PollTimeout:
		return r.sessionTimedOut(time.Since(began))
	case a.Type != api.PollMessage || a.Data == nil:
		r.w.fault("%s was answered %q", r, a.Type)
	default:
		r.sessionGiven(a, stood)
	}
	return false
}

// place is a position in an epoch; the zero value is none.
type place struct {
	epoch    string
	position int64
}

// shownBy is the place that a cookie shows.
func shownBy(cookie string) (p place) {
	value, _, _ := strings.Cut(cookie, ";")
	if _, cursor, found := strings.Cut(value, "."); found { // after the session
		p.epoch, p.position = parseCursor(cursor)
	}
	return p
}

// pass clears a place once a position behind it is given, or one of another epoch.
func (p *place) pass(epoch string, position int64) {
	if p.epoch != epoch || p.position <= position {
		*p = place{}
	}
}

// losesToProxy reports whether a proxy took the answer, and the reader did not get it.
func (r *device) losesToProxy(response response) bool {
	if r.w.closing || r.broke != (place{}) || !r.d.hit(r.forgetful) {
		return false
	}
	r.w.count("answer-taken-by-proxy")
	r.w.note("%s: a proxy has the answer", r)
	if p := shownBy(response.cookie); p.epoch != r.taken.epoch || p.position > r.taken.position { // clocks apart, it may be given a lower one next
		r.taken = p
	}
	r.attentive = time.Time{}
	return true
}

// keepCookie keeps the cookie of an answer. It returns where the session stood, as far as the reader has shown it: it shows what has reached it,
// whatever the cursor says.
func (r *device) keepCookie(a api.PollResponse, response response, stood store.SessionCursor) store.SessionCursor {
	r.cookie = response.cookie
	if a.Data != nil {
		epoch, _ := parseCursor(a.Cursor)
		r.broke.pass(epoch, a.Data.Seq)
		r.taken.pass(epoch, a.Data.Seq)
	}
	if stood.Position = min(stood.Position, r.given); stood.Epoch != r.epoch {
		stood.Position = 0
	}
	return stood
}

// sessionTimedOut counts timeouts that come early, as when another poll of the session is answered, and reports whether there was nothing.
func (r *device) sessionTimedOut(after time.Duration) (nothing bool) {
	if after < pollWait-50*time.Millisecond {
		r.early++
		r.w.count("early-session-timeouts")
		if r.early > 40 {
			_ = r.w.sleep(context.Background(), time.Second)
		}
	}
	return after > pollWait/2 || r.w.closing
}

// sessionGiven checks a message that a session is given. It comes again until the session stands behind it, and never after that.
func (r *device) sessionGiven(a api.PollResponse, stood store.SessionCursor) {
	epoch, _ := parseCursor(a.Cursor)
	position := a.Data.Seq // the cursor may have passed empty positions
	if epoch == stood.Epoch && position <= stood.Position {
		r.w.fault("%s was given position %d, and had stood at %d: it is rewound", r, position, stood.Position)
	}
	r.stepTo(epoch, position)
	if r.repeats++; epoch != r.epoch || position != r.given {
		r.given, r.epoch, r.repeats = position, epoch, 0
	}
	if r.repeats == mostRepeats {
		r.w.fault("%s was given position %d again and again", r, position)
	}
	r.position = max(r.position, position)
	r.answered(epoch, position-1, position, []api.Message{*a.Data}, nil, false)
}

// mustNotGoBack compares a session's cursor in the store with its earlier one. Only a restore takes it back.
func (r *device) mustNotGoBack(now store.SessionCursor) {
	if r.stood == nil || r.restored != r.w.restored {
		r.stood, r.restored = map[string]int64{}, r.w.restored
	}
	if before := r.stood[now.Epoch]; now.Position < before {
		r.w.fault("%s stands at %d of %s, and had stood at %d: it is rewound", r, now.Position, now.Epoch, before)
	}
	r.stood[now.Epoch] = now.Position
}

// mostRepeats is more often than moving a cursor fails in a row.
const mostRepeats = 20
