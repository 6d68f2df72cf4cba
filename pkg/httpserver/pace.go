package httpserver

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// bodyPause is how long a client may send nothing of its body.
	bodyPause = 10 * time.Second
	// slowestBody is the least rate of a body, in bytes per second: a link of 64 kbit/s does eight times that.
	slowestBody = 1 << 10
	// unreadBodyTime is how long to wait for the rest of an unwanted body, so that the connection can be reused.
	unreadBodyTime = time.Second
	// deadlineEvery is the least time between two changes of a deadline: a fast body changes none.
	deadlineEvery = time.Second
)

// boundBody bounds the time of a body, whether or not a handler reads it: the server reads it to its end before it writes the answer. The
// body must keep coming, and not too slowly.
func boundBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &pacedBody{ReadCloser: r.Body, rc: http.NewResponseController(w), began: time.Now()}
		body.bound(body.began)
		r.Body = body
		next.ServeHTTP(w, r)
		if !body.ended {
			_ = body.rc.SetReadDeadline(time.Now().Add(unreadBodyTime))
		}
	})
}

// pacedBody extends the deadline of a body as it arrives, and records whether it has been read to its end.
type pacedBody struct {
	io.ReadCloser
	rc *http.ResponseController
	// began is when the body began, bounded when the deadline was set last.
	began, bounded time.Time
	got            int64
	ended          bool
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.got += int64(n)
	if errors.Is(err, io.EOF) {
		b.ended = true
		return n, err
	}
	if now := time.Now(); now.Sub(b.bounded) >= deadlineEvery {
		b.bound(now)
	}
	return n, err
}

func (b *pacedBody) bound(now time.Time) {
	b.bounded = now
	// An error means that the connection has no deadlines (in a test, say): then there is nothing to bound.
	_ = b.rc.SetReadDeadline(bodyDeadline(b.began, now, b.got))
}

// bodyDeadline returns until when more must have come of a body that began at began, and of which got bytes are here.
func bodyDeadline(began, now time.Time, got int64) time.Time {
	allowed := began.Add(bodyPause + time.Duration(got)*time.Second/slowestBody)
	if pause := now.Add(bodyPause); pause.Before(allowed) {
		return pause
	}
	return allowed
}
