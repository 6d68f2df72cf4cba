package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	receiveLimit = 100
	receiveWait  = 25 * time.Second
	// remembered is how many message ids are kept, to recognize messages that come a second time after a reset.
	remembered = 10_000
)

// ErrGap means that an answer of the server leaves out positions: the server has lost messages, or withholds them.
var ErrGap = errors.New("the server's answer has a gap")

// Cursor is how far a reader has read.
type Cursor struct {
	// Text is the server's cursor, to be sent back unchanged; "0" is the beginning.
	Text string `json:"cursor"`
	// Position is the last position that the reader knows to be accounted for; -1 if unknown.
	Position int64 `json:"position"`
}

// Cursors stores a reader's cursor across restarts.
type Cursors interface {
	Load() (Cursor, error)
	// Save replaces from, which this reader loaded or saved before, with to. If another reader of the inbox saved a cursor
	// meanwhile, the one that is further stays.
	Save(from, to Cursor) error
}

// FileCursor keeps a cursor in a JSON file, which several processes may share.
type FileCursor struct{ Path string }

// beginning is where a reader without a cursor starts.
var beginning = Cursor{Text: "0"}

// Load implements Cursors. A missing file means the beginning.
func (f FileCursor) Load() (Cursor, error) {
	c := beginning
	return c, loadJSON(f.Path, &c)
}

// Save implements Cursors.
func (f FileCursor) Save(from, to Cursor) error {
	return changeJSON(f.Path, beginning, func(kept Cursor) (Cursor, bool) { return to, kept == from || !kept.beyond(to) })
}

// beyond reports whether c is known to be further in the same epoch. A cursor begins with the name of its epoch. Taking two epochs
// for one, or one for two, repeats messages but loses none.
func (c Cursor) beyond(other Cursor) bool {
	history, _, _ := strings.Cut(c.Text, ".")
	others, _, _ := strings.Cut(other.Text, ".")
	return history == others && other.Position >= 0 && c.Position > other.Position
}

// Receive passes every message to handle, in order, until ctx ends, handle fails or the session ends. It saves the cursor after
// handle has returned. So if the process dies in between, a message is passed again, and never left out. Whatever else happens to a
// poll, it is repeated with growing pauses, forever, and asks for less at once where the way to the server is slow.
//
// Positions must be contiguous; otherwise it returns ErrGap. After a reset of the server's log (a restore from a backup) the
// messages come from the beginning again; those already passed in this call are left out.
func (m *Messenger) Receive(ctx context.Context, cursors Cursors, handle func(context.Context, Incoming) error) error {
	at, err := cursors.Load()
	if err != nil {
		return err
	}
	seen, err := lru.New[string, struct{}](remembered)
	if err != nil {
		return err
	}
	r := receiver{m: m, cursors: cursors, handle: handle, at: at, seen: seen, pages: pages{mostPageBytes}}
	for {
		answer, err := r.poll(ctx)
		if err != nil {
			return err
		}
		if err := r.take(ctx, answer); err != nil {
			return err
		}
	}
}

type receiver struct {
	m       *Messenger
	cursors Cursors
	handle  func(context.Context, Incoming) error
	at      Cursor
	seen    *lru.Cache[string, struct{}]
	pages   pages
	failed  bool
}

// poll polls until there is an answer, or an error that will not pass.
func (r *receiver) poll(ctx context.Context) (api.PollResponse, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 15*time.Second
	for {
		var t transfer
		answer, err := r.m.Poll(ctx, r.at.Text, receiveLimit, receiveWait, MaxBytes(r.pages.bytes), measured(&t))
		r.pages.learn(t, err)
		if err == nil {
			if r.failed {
				r.failed = false
				r.m.onRetry(nil)
			}
			return answer, nil
		}
		if ctx.Err() != nil || !pollMayPass(err) {
			return answer, err
		}
		r.failed = true
		r.m.onRetry(err)
		select {
		case <-time.After(max(pauses.NextBackOff(), retryAfter(err))):
		case <-ctx.Done():
			return answer, ctx.Err()
		}
	}
}

// pollMayPass reports whether the same poll may succeed later. Of what the server answers, two things do not pass: that the session has
// ended, and that the request is wrong. Any other refusal may be of a server that is being replaced.
func pollMayPass(err error) bool {
	var answered *api.Error
	if errors.As(err, &answered) {
		return answered.Status != http.StatusUnauthorized && answered.Status != http.StatusBadRequest
	}
	return mayPass(err)
}

// take passes an answer's messages to handle and moves the cursor.
func (r *receiver) take(ctx context.Context, answer api.PollResponse) error {
	if answer.Type == api.PollReset {
		if r.m.OnReset != nil {
			r.m.OnReset()
		}
		return r.move(Cursor{Text: answer.Cursor, Position: 0})
	}
	next, err := r.follow(answer)
	if err != nil {
		return err
	}
	for _, message := range answer.Messages {
		if r.seen.Contains(message.MessageID) {
			continue
		}
		if err := r.handle(ctx, r.m.Open(message)); err != nil {
			return err
		}
		r.seen.Add(message.MessageID, struct{}{})
	}
	return r.move(next)
}

func (r *receiver) move(to Cursor) error {
	if to == r.at {
		return nil
	}
	from := r.at
	r.at = to
	return r.cursors.Save(from, to)
}

// follow checks that an answer accounts for every position.
func (r *receiver) follow(answer api.PollResponse) (Cursor, error) {
	covered := slices.Clone(answer.Skipped)
	last := int64(0)
	for _, m := range answer.Messages {
		if m.Seq <= last {
			return Cursor{}, fmt.Errorf("%w: position %d comes after %d", ErrGap, m.Seq, last)
		}
		last = m.Seq
		covered = append(covered, m.Seq)
	}
	slices.Sort(covered)
	position := r.at.Position
	for _, p := range covered {
		if position >= 0 && p != position+1 {
			return Cursor{}, fmt.Errorf("%w: after position %d comes %d", ErrGap, position, p)
		}
		position = p
	}
	return Cursor{Text: answer.Cursor, Position: position}, nil
}
