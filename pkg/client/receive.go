package client

import (
	"context"
	"errors"
	"fmt"
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
	// remembered is how many message ids are kept, to know again what comes a second time after a reset.
	remembered = 10_000
)

// ErrGap means that an answer of the server leaves positions out. The server has lost messages, or keeps them back.
var ErrGap = errors.New("the server's answer has a gap")

// Cursor is how far a reader has come.
type Cursor struct {
	// Text is the server's, to be handed back as it is; "0" is the beginning.
	Text string `json:"cursor"`
	// Position is the last one that the reader knows to be accounted for; -1 if it does not know.
	Position int64 `json:"position"`
}

// Cursors keeps a reader's cursor across restarts.
type Cursors interface {
	Load() (Cursor, error)
	// Save keeps to in place of from, which this reader loaded or saved before. If another reader of the inbox has saved one
	// meanwhile, the one that has come further stays.
	Save(from, to Cursor) error
}

// FileCursor keeps a cursor in a JSON file, which several processes may share.
type FileCursor struct{ Path string }

// beginning is where a reader without a cursor begins.
var beginning = Cursor{Text: "0"}

// Load implements Cursors. A file that is not there stands for the beginning.
func (f FileCursor) Load() (Cursor, error) {
	c := beginning
	return c, loadJSON(f.Path, &c)
}

// Save implements Cursors.
func (f FileCursor) Save(from, to Cursor) error {
	return changeJSON(f.Path, beginning, func(kept Cursor) (Cursor, bool) { return to, kept == from || !kept.beyond(to) })
}

// beyond reports whether c is known to be further in the same history of the inbox. A cursor begins with the name of the
// history, the log's epoch. Whoever takes two histories for one, or the other way round, gets messages again, and loses none.
func (c Cursor) beyond(other Cursor) bool {
	history, _, _ := strings.Cut(c.Text, ".")
	others, _, _ := strings.Cut(other.Text, ".")
	return history == others && other.Position >= 0 && c.Position > other.Position
}

// Receive hands every message that comes to handle, in order, until ctx ends, handle fails or the session does. The
// cursor is saved after handle has returned, so a message is handed over again if the process dies in between, and
// never left out. A connection that is lost is made again, for ever, with pauses that grow.
//
// Positions must be contiguous: if they are not, it returns ErrGap. After a reset of the server's log (a restore from a
// backup) the messages come from the beginning again; those that were handed over before in this call are left out.
func (m *Messenger) Receive(ctx context.Context, cursors Cursors, handle func(context.Context, Incoming) error) error {
	at, err := cursors.Load()
	if err != nil {
		return err
	}
	seen, err := lru.New[string, struct{}](remembered)
	if err != nil {
		return err
	}
	r := receiver{m: m, cursors: cursors, handle: handle, at: at, seen: seen}
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
	failed  bool
}

// poll asks until there is an answer, or an error that will not pass.
func (r *receiver) poll(ctx context.Context) (api.PollResponse, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 15*time.Second
	for {
		answer, err := r.m.Poll(ctx, r.at.Text, receiveLimit, receiveWait)
		if err == nil {
			if r.failed {
				r.failed = false
				r.m.onRetry(nil)
			}
			return answer, nil
		}
		if ctx.Err() != nil || !mayPass(err) {
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

// take hands an answer's messages over and moves the cursor.
func (r *receiver) take(ctx context.Context, answer api.PollResponse) error {
	if answer.Type == api.PollReset {
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

// follow holds an answer to the promise that every position is accounted for.
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
