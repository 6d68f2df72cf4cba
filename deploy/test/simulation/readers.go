package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/api"
)

// The kinds of readers.
const (
	byCursor  = "cursor"
	byLatest  = "latest"
	byNumber  = "position"
	bySession = "session"
	byCookie  = "session with cookies"
	byStream  = "stream"
)

var readerKinds = []string{byCursor, byCursor, byLatest, byNumber, bySession, byCookie, byStream}

// device is one client of a user.
type device struct {
	w    *world
	d    *rng
	kind string
	user string
	id   int
	// cursor is the cursor that it has kept; epoch is the epoch that came with it.
	cursor, epoch string
	position      int64
	// attentive is the start of its polling without pause and error; zero while it does not poll so.
	attentive time.Time
	// early counts empty answers before the time.
	early int
	// lazy is the probability that it goes away, often for long; forgetful, that it dies before it keeps a cursor.
	lazy, forgetful float64
	wait            time.Duration
	// more: the last answer had messages.
	more bool
	// paused is the length of the pause before its last request.
	paused time.Duration
	// given is the position that its session was given last, repeats how often.
	given   int64
	repeats int
	// cookie is that of the last answer that has reached it: see api.ReadCookie. broke is up to where an
	// answer led of which only the header has, taken up to where one led that a proxy has and the reader has not.
	cookie       string
	broke, taken place
	// stood is the highest position of the session cursor in the store, by epoch, since the restore with number restored.
	stood    map[string]int64
	restored int
	// served is when the last message came.
	served time.Time
	// seen says when each content was first received.
	seen map[string]time.Time
}

func (w *world) startReaders() {
	d := rngOf(w.plan.Seed, "devices")
	for u := range w.plan.Shape.Users {
		for range d.among(1, 3) {
			id := len(w.devices)
			r := &device{
				w: w, d: rngOf(w.plan.Seed, "device", uint64(id)), kind: pick(d, readerKinds), user: userName(u), id: id, cursor: "0",
				seen: map[string]time.Time{},
			}
			if r.d.hit(0.3) {
				r.lazy = 0.3 * r.d.float()
			}
			if r.d.hit(0.3) {
				r.forgetful = 0.3 * r.d.float()
			}
			r.wait = time.Duration(pick(r.d, []int{0, 1, 5, 20, 25, 60})) * time.Second
			w.devices = append(w.devices, r)
			w.readers.Go(r.run)
		}
	}
}

// lastPolls is how many polls in a row must bring nothing before a reader concludes that nothing more comes: together they wait longer than
// it takes to decide a position that nobody has read before.
const lastPolls = 3

// String names a device.
func (r *device) String() string { return fmt.Sprintf("%s's device %d (%s)", r.user, r.id, r.kind) }

func (r *device) run() {
	w := r.w
	if r.d.hit(0.5) {
		_ = w.sleep(context.Background(), r.d.between(0, w.plan.Shape.Busy))
	}
	if r.sessionCursor() {
		r.open()
	}
	if r.kind == byLatest {
		r.cursor = "latest"
	}
	quiet := 0
	for quiet < lastPolls && !w.aborted {
		if !w.closing && r.d.hit(r.lazy) {
			r.attentive = time.Time{}
			most := 30 * time.Second
			if r.d.hit(0.5) {
				most = max(most, min(2*w.plan.Shape.Retention, w.plan.Shape.Busy))
			}
			_ = w.sleep(context.Background(), r.d.between(0, most))
		}
		if r.poll() && w.closing {
			quiet++
		} else {
			quiet = 0
		}
	}
	if r.sessionCursor() && !w.aborted {
		r.stepToTheEnd()
	}
}

// sessionCursor reports whether the server keeps its place.
func (r *device) sessionCursor() bool { return r.kind == bySession || r.kind == byCookie }

// open opens a session, as a login does.
func (r *device) open() {
	for {
		n := r.w.serving(r.d, true)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := n.store.OpenSession(ctx, r.user, r.session(), time.Now().Add(24*time.Hour))
		if err == nil {
			if begin, err := n.store.SessionCursor(ctx, r.user, r.session()); err == nil {
				r.cookie = api.ReadCookie{Session: r.session(), Epoch: begin.Epoch, Position: begin.Position}.String()
			}
			cancel()
			return
		}
		cancel()
		_ = r.w.sleep(context.Background(), time.Second)
	}
}

func (r *device) session() string { return fmt.Sprintf("s%d", r.id) }

// poll asks once, and reports whether there was nothing left to read.
func (r *device) poll() (nothing bool) {
	wait := r.wait
	if r.w.closing {
		wait = 4 * time.Second
	}
	if wait <= time.Second && !r.w.closing && !r.more { // a client that hardly waits polls at intervals
		pause := r.d.between(100*time.Millisecond, longestPause/4)
		if r.w.healed {
			pause *= 4
		}
		_ = r.w.sleep(context.Background(), pause)
		r.paused = pause
	}
	r.more = false
	switch r.kind {
	case bySession, byCookie:
		return r.pollSession()
	case byStream:
		return r.follow()
	}
	began := time.Now()
	after := r.cursor
	url := fmt.Sprintf("/api/messages/poll?after=%s&wait=%d&limit=%d", after, int(wait/time.Second), r.d.among(1, 20))
	answer, response, err := r.ask(request{method: http.MethodGet, url: url, token: r.token()}, wait)
	if err != nil {
		return false
	}
	if r.attentive.IsZero() {
		r.attentive = began
	}
	r.keep(after, answer, response, began, wait)
	return answer.Type == api.PollTimeout && after != "latest" && len(answer.Skipped) == 0
}

func (r *device) token() string { return r.user + "/" + r.session() }

// ask makes a request whose answer is JSON. On an error, it waits a little before it returns.
func (r *device) ask(q request, wait time.Duration) (answer api.PollResponse, response response, err error) {
	w := r.w
	n := w.serving(r.d, true)
	ctx, cancel := context.WithTimeout(context.Background(), wait+10*time.Second)
	defer cancel()
	if !w.closing && !q.sure && r.d.hit(r.forgetful/2) { // it dies in the middle
		ctx, cancel = context.WithTimeout(ctx, r.d.between(0, wait+time.Second))
		defer cancel()
	}
	w.count("polls")
	began := time.Now()
	response, err = w.send(ctx, r.d, n, q, nil)
	w.note("%s asks node %d %s: %d %v after %s: %.300s", r, n.place, q.url, response.status, err, time.Since(began).Round(time.Millisecond), response.body)
	if err == nil && response.status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.status, response.body)
		if response.status != http.StatusServiceUnavailable {
			w.fault("%s was answered %d: %s", r, response.status, response.body)
		}
	}
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(response.body)).Decode(&answer)
	}
	if err != nil {
		r.attentive = time.Time{}
		_ = w.sleep(context.Background(), r.d.between(50*time.Millisecond, 3*time.Second))
	}
	if w.counts["polls"] > mostPolls {
		w.giveUp("%d polls: a client spins", w.counts["polls"])
	}
	return answer, response, err
}

const mostPolls = 60_000

// parseCursor splits a cursor.
func parseCursor(text string) (epoch string, position int64) {
	epoch, digits, found := strings.Cut(text, ".")
	if !found {
		epoch, digits = "", text
	}
	position, _ = strconv.ParseInt(digits, 10, 64)
	return epoch, position
}

// keep processes an answer.
func (r *device) keep(after string, a api.PollResponse, response response, began time.Time, wait time.Duration) {
	w := r.w
	epoch, position := parseCursor(a.Cursor)
	if a.Type == api.PollReset {
		r.reset(epoch, a.Cursor)
		return
	}
	from := position - int64(len(a.Messages)+len(a.Skipped))
	if after != "latest" {
		_, from = parseCursor(after)
	}
	r.answered(epoch, from, position, a.Messages, a.Skipped, after == "latest")
	if a.Type == api.PollTimeout && position == from && after != "latest" && !response.close && wait > 0 && time.Since(began) < wait-50*time.Millisecond {
		r.early++
		w.count("early-timeouts")
		if r.early == 3 {
			w.fault("%s asked after %s for %s and was told of a time-out after %s: it spins", r, after, wait, time.Since(began).Round(time.Millisecond))
		}
		if r.early > 50 {
			_ = w.sleep(context.Background(), time.Second)
		}
	}
	if !w.closing && after != "latest" && r.d.hit(r.forgetful) {
		r.attentive = time.Time{}
		return // it dies before it has kept the answer, and asks again
	}
	r.epoch, r.position = epoch, position
	if r.cursor = a.Cursor; r.kind == byNumber {
		r.cursor = strconv.FormatInt(position, 10)
	}
}

// reset starts over in another epoch.
func (r *device) reset(epoch, cursor string) {
	if r.epoch == epoch || (r.epoch == "" && r.w.restored == 0) {
		r.w.fault("%s was told that the log is another one, at %s: it is not", r, r.cursor)
	}
	r.epoch, r.position, r.cursor, r.attentive = epoch, 0, cursor, time.Time{}
	if r.kind == byNumber {
		r.cursor = "0"
	}
}

// answered records what a reader was told.
func (r *device) answered(epoch string, from, cursor int64, messages []api.Message, skipped []int64, latest bool) {
	w := r.w
	a := historycheck.Answer{
		Reader: r.user + "@" + epoch, After: from, Cursor: cursor, Skipped: skipped, At: at(time.Now(), w), FromHead: latest,
	}
	r.more = len(messages) > 0
	for _, m := range messages {
		a.Messages = append(a.Messages, historycheck.Seen{Position: m.Seq, MessageID: sent(m.MessageID, m.EncryptedContent), Sender: m.Sender, Content: m.EncryptedContent})
		r.arrived(m)
	}
	if r.more {
		r.served = time.Now()
	}
	w.answers = append(w.answers, a)
}

// rewound is called when the store sets a session back.
func (w *world) rewound(user, session, from, to string, position int64) {
	w.note("session %s of %s goes from %q to %d of %q", session, user, from, position, to)
	if w.restored == 0 && from != "" {
		w.fault("session %s of %s is set to %d: the log is no other", session, user, position)
	}
}

// witnessAll reads all inboxes from beginning to end.
func (w *world) witnessAll() {
	for u := range w.plan.Shape.Users {
		r := &device{
			w: w, d: rngOf(w.plan.Seed, "witness", uint64(u)), kind: byCursor, user: userName(u), id: 1000 + u, cursor: "0", seen: map[string]time.Time{},
		}
		for quiet := 0; quiet < lastPolls && !w.aborted; {
			if r.poll() {
				quiet++
			} else {
				quiet = 0
			}
		}
	}
}
