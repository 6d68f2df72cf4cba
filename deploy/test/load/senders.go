package load

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
)

// wrappedBytes is the length of a message key wrapped for an RSA key of 2048 bits.
const wrappedBytes = 256

// letter is the message that a user sends repeatedly: only the stamp and the client message id change.
type letter struct {
	from   *user
	to     []int
	filler string
	keys   []byte
}

// newLetter makes a letter to users of a list, by index; content is its length in characters.
func newLetter(users []user, from int, to []int, content int) (*letter, error) {
	keys := make(map[string]string, len(to))
	for _, i := range to {
		keys[users[i].name] = base64.StdEncoding.EncodeToString(random(wrappedBytes))
	}
	text, err := json.Marshal(keys)
	return &letter{
		from: &users[from], to: to, keys: text,
		filler: hex.EncodeToString(random(content/2 + 1))[:max(0, content-check.StampBytes)],
	}, err
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return b
}

// body writes the body of a send.
func (l *letter) body(b *bytes.Buffer, s check.Stamp) {
	var text [check.StampBytes]byte
	stamp := s.Append(text[:0])
	b.Reset()
	b.WriteString(`{"encryptedContent":"`)
	b.Write(stamp)
	b.WriteString(l.filler)
	b.WriteString(`","iv":"000102030405060708090a0b","clientMessageId":"`)
	b.Write(stamp[:17]) // the run and the number
	b.WriteString(`","recipientKeys":`)
	b.Write(l.keys)
	b.WriteByte('}')
}

// senders send letters, in a closed loop or on a schedule.
type senders struct {
	b       *bench
	run     *check.Run
	letters []*letter
	// schedule is nil for a closed loop: then each sender sends again as soon as it is answered, until end.
	schedule    *measure.Schedule
	end         time.Time
	concurrency int

	// accepted holds how long sends took; late, for a schedule, how late they began. from is when measuring begins.
	accepted, late *measure.Series
	from           time.Time
}

// send sends until the time is over.
func (s *senders) send(ctx context.Context) {
	var sending sync.WaitGroup
	for i := range s.concurrency {
		sending.Go(func() { s.loop(ctx, i) })
	}
	sending.Wait()
}

// sender has one send under way at a time.
type sender struct {
	*senders
	conn  *wire.Conn
	timer *time.Timer
	body  bytes.Buffer
}

func newSender(s *senders, i int) *sender {
	return &sender{senders: s, conn: wire.NewConn(s.b.server(i), ""), timer: measure.StoppedTimer()}
}

// loop is one sender. In a closed loop it sends one user's letters; on a schedule those of all users in turn.
func (s *senders) loop(ctx context.Context, i int) {
	one := newSender(s, i)
	defer one.conn.Close()
	for turn := i; ctx.Err() == nil; turn += s.concurrency {
		at, l := time.Now(), s.letters[i%len(s.letters)]
		if s.schedule != nil {
			var ok bool
			if at, ok = s.schedule.Next(ctx, one.timer); !ok {
				return
			}
			l = s.letters[turn%len(s.letters)]
			s.noteLate(at)
		} else if !at.Before(s.end) {
			return
		}
		asked := one.send(ctx, l, at)
		if asked > 0 && s.schedule == nil && !measure.Pause(ctx, one.timer, asked) {
			return
		}
	}
}

func (s *senders) noteLate(at time.Time) {
	if now := time.Now(); !at.Before(s.from) {
		s.late.Record(now, now.Sub(at))
	}
}

// send sends one letter scheduled at a moment, and returns how long the server asks to wait.
func (s *sender) send(ctx context.Context, l *letter, at time.Time) time.Duration {
	n := s.run.Begin(l.to)
	l.body(&s.body, check.Stamp{Run: s.run.ID, N: n, At: at.UnixNano()})
	a, err := s.conn.Do(ctx, wire.Request{Method: http.MethodPost, Path: "/api/messages/send", Token: l.from.token, Body: s.body.Bytes(), Timeout: callTimeout})
	now := time.Now()
	o := outcome(a.Status, err)
	s.run.End(n, o)
	s.b.tally.count("send", a.Status, err)
	if o == check.Accepted && !at.Before(s.from) {
		s.accepted.Record(now, now.Sub(at))
	}
	if o != check.Accepted {
		return max(a.RetryAfter, 10*time.Millisecond)
	}
	return 0
}

// letters makes a letter for each user: to the next fanOut users in the list, and to itself only if it is to all.
func letters(users []user, fanOut, content int) ([]*letter, error) {
	list := make([]*letter, len(users))
	for i := range users {
		to := make([]int, fanOut)
		for k := range to {
			to[k] = (i + k + 1) % len(users)
		}
		var err error
		if list[i], err = newLetter(users, i, to, content); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// fanOut parses the number of users that a message goes to.
func fanOut(text string, users int) (int, error) {
	if text == "all" {
		return users, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > users {
		return 0, fmt.Errorf("a fan-out is a number up to that of the users, or all: not %q", text)
	}
	return n, nil
}
