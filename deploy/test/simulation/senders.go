package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/api"
)

// sendState is a message to send.
type sendState struct {
	sender, key, content string
	recipients           []string
	expires              time.Duration
	// acknowledged is when the first attempt was acknowledged.
	acknowledged time.Time
	// repeatsUntil is when the sender stops trying: the first try may have been committed, and its client message id counts as new once the
	// retention is over.
	repeatsUntil time.Time
}

func userName(i int) string { return fmt.Sprintf("user%d", i) }

// clientPatience is how long a client waits for an answer to a send.
const clientPatience = 12 * time.Second

// startClients starts all clients.
func (w *world) startClients() {
	for i := range w.plan.Shape.Sends {
		d := rngOf(w.plan.Seed, "sender", uint64(i))
		s := w.draft(d, i)
		w.senders.Go(func() { w.sender(d, s, i) })
	}
	w.startReaders()
	if w.plan.Shape.Logins {
		w.startLogins()
	}
}

// draft makes up the i-th message.
func (w *world) draft(d *rng, i int) *sendState {
	s := &sendState{sender: userName(d.below(w.plan.Shape.Users)), key: fmt.Sprintf("key%d", i), content: fmt.Sprintf("content%d", i)}
	if w.plan.Shape.ManyRecipients > 4 && i%7 == 3 {
		for n := range w.plan.Shape.ManyRecipients {
			s.recipients = append(s.recipients, userName(n))
		}
	} else {
		for n := range w.plan.Shape.Users {
			if d.hit(0.5) {
				s.recipients = append(s.recipients, userName(n))
			}
		}
		if len(s.recipients) == 0 {
			s.recipients = []string{userName(d.below(w.plan.Shape.Users))}
		}
	}
	if d.hit(w.plan.Shape.Expiring) {
		s.expires = time.Duration(d.among(1, 60)) * time.Second
	}
	w.sends[s.content] = s
	return s
}

// sender sends one message until it is acknowledged, and perhaps again.
func (w *world) sender(d *rng, s *sendState, i int) {
	most := w.plan.Shape.Sending()
	when := d.between(0, most)
	if len(w.plan.Busiest) > 0 && d.hit(0.5) {
		when = min(most, max(0, pick(d, w.plan.Busiest)+d.between(-2*time.Second, 4*time.Second)))
	}
	if d := rngOf(w.plan.Seed, "burst", uint64(i)); len(w.plan.Shape.Bursts) > 0 && d.hit(0.8) {
		when = max(0, pick(d, w.plan.Shape.Bursts)+d.between(0, burst))
	}
	if late := rngOf(w.plan.Seed, "late", uint64(i)); w.plan.Shape.Quiet > 0 && late.hit(0.15) {
		when = w.plan.Shape.Busy - late.between(0, mostOverdue)
	}
	_ = w.sleep(context.Background(), when)
	s.repeatsUntil = time.Now().Add(w.plan.Shape.Retention / 2)
	if d.hit(0.15) { // an impatient client repeats on another node
		w.senders.Go(func() { w.attempt(rngOf(w.plan.Seed, "twin", uint64(i)), s, s.content) })
	}
	if d.hit(0.05) { // another message under the same client message id
		w.senders.Go(func() {
			dv := rngOf(w.plan.Seed, "variant", uint64(i))
			_ = w.sleep(context.Background(), dv.between(0, 10*time.Second))
			w.attempt(dv, s, s.content+other)
		})
	}
	if da := rngOf(w.plan.Seed, "again", uint64(i)); w.plan.Shape.Again > 0 && da.hit(0.6) {
		w.senders.Go(func() { w.again(da, s) })
	}
	w.insist(d, s)
	if d.hit(0.25) { // the answer was lost, or the client has forgotten it
		most := min(3*time.Minute, w.plan.Shape.Retention/2)
		_ = w.sleep(context.Background(), d.between(0, most))
		w.insist(d, s)
	}
}

// The suffixes of another content under the same client message id: one sent soon, and one sent when the first message is purged.
const (
	other = "-other"
	again = "-again"
)

// first returns the content first sent under the client message id of content.
func first(content string) string {
	return strings.TrimSuffix(strings.TrimSuffix(content, other), again)
}

// sent makes different ids of the messages that bear one id one after the other.
func sent(id, content string) string {
	if strings.HasSuffix(content, again) {
		return id + again
	}
	return id
}

// again sends another content under the client message id, around the time when the first message is purged. Until then it is refused.
func (w *world) again(d *rng, s *sendState) {
	_ = w.sleep(context.Background(), w.plan.Shape.Retention+d.between(-time.Minute, mostOverdue))
	for range d.among(1, 12) {
		if w.aborted {
			return
		}
		if d.hit(0.3) {
			twin := rngOf(d.next(), "twin")
			w.senders.Go(func() { w.attempt(twin, s, s.content+again) })
		}
		if isOK(w.attempt(d, s, s.content+again)) {
			w.count("sent-again")
			return
		}
		_ = w.sleep(context.Background(), d.between(0, 10*time.Second))
	}
}

// insist tries until the message is acknowledged.
func (w *world) insist(d *rng, s *sendState) {
	failures, late := 0, d.hit(0.2)
	var since time.Time
	for try := 0; !w.aborted; try++ {
		began := time.Now()
		if began.After(s.repeatsUntil) {
			return
		}
		status := w.attempt(d, s, s.content)
		if isOK(status) || status == http.StatusConflict {
			return
		}
		if w.healthy(began) {
			if failures++; failures == 1 {
				since = began
			}
			if failures >= 4 && time.Since(since) > 10*time.Second {
				w.fault("%s of %s fails again and again since %s, for nothing that should make it fail", s.key, s.sender, since.Sub(w.start).Round(time.Millisecond))
				return
			}
		} else {
			failures = 0
		}
		pause := d.between(50*time.Millisecond, 4*time.Second)
		if late && !w.healed { // a client that goes away and comes back
			pause = max(pause, d.between(0, time.Minute))
		}
		if try > 200 {
			w.fault("%s of %s is not acknowledged after %d attempts", s.key, s.sender, try)
			return
		}
		_ = w.sleep(context.Background(), pause)
	}
}

// attempt sends once.
func (w *world) attempt(d *rng, s *sendState, content string) (status int) {
	began, restored := time.Now(), w.restored
	keys := make(map[string]string, len(s.recipients))
	for _, r := range s.recipients {
		keys[r] = "k"
	}
	body := api.SendRequest{EncryptedContent: content, IV: "iv", RecipientKeys: keys, ClientMessageID: s.key}
	if s.expires > 0 {
		seconds := int64(s.expires / time.Second)
		body.ExpiresIn = &seconds
	}
	text, _ := json.Marshal(body) // strings and numbers: it cannot fail
	ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
	defer cancel()
	n := w.serving(d, false)
	r, err := w.send(ctx, d, n, request{method: http.MethodPost, url: "/api/messages/send", token: s.sender + "/sender", body: text}, nil)
	key := s.key
	if content != s.content {
		key += strings.TrimPrefix(content, s.content)
	}
	a := historycheck.Attempt{
		Sender: s.sender, Key: key, Content: content, Recipients: s.recipients, Began: at(began, w), Ended: at(time.Now(), w),
		GoneAfter: at(began, w) + int64(w.lifetime(s)),
	}
	var answer api.SendResponse
	if err == nil && isOK(r.status) {
		if err := json.NewDecoder(bytes.NewReader(r.body)).Decode(&answer); err != nil {
			w.fault("the answer to a send cannot be read: %q", r.body)
		}
		a.Acknowledged, a.MessageID = true, sent(answer.MessageID, content)
		if content == s.content && s.acknowledged.IsZero() && w.restored == restored {
			s.acknowledged = time.Now()
		}
	}
	w.note("%s sends %s (%s) to %v by node %d: %d %v %s", s.sender, s.key, content, len(s.recipients), n.place, r.status, err, r.body)
	switch {
	case err != nil, isOK(r.status), r.status == http.StatusConflict, r.status == http.StatusServiceUnavailable:
	default:
		w.fault("a send was answered %d: %s", r.status, r.body)
	}
	if isOK(r.status) && w.healthy(began) && time.Since(began) > patienceWith(len(s.recipients)) {
		w.fault("%s of %s took %s, for nothing that should make it slow", s.key, s.sender, time.Since(began).Round(time.Millisecond))
	}
	w.attempts = append(w.attempts, a)
	return r.status
}

// patienceWith is how long a send to so many may take while the store is well. Where Redis lost positions, or cannot be reached, those of
// a broadcast are looked for one by one, and the same send may do so by two nodes at once.
func patienceWith(recipients int) time.Duration {
	if recipients > 100 {
		return 6 * time.Second
	}
	return 3 * time.Second
}

// illRates are the rates that make sends fail or slow.
var illRates = []string{rateLost, rateLate, ratePartial, rateFail, rateSlow, rateCrash}

// healthy reports whether nothing that makes a send fail or slow has gone wrong since a time: the store was up, and no process died or
// paused.
func (w *world) healthy(since time.Time) bool {
	if w.waitsForRevocations() {
		return false
	}
	w.statsMu.Lock()
	ill := w.faultUntil.After(since)
	w.statsMu.Unlock()
	if ill {
		return false
	}
	for _, rate := range illRates {
		if w.plan.Rates[rate] > 0 {
			return false
		}
	}
	return true
}

// lifetime is how long a message is shown.
func (w *world) lifetime(s *sendState) time.Duration {
	if s.expires > 0 {
		return s.expires
	}
	return w.plan.Shape.Retention
}

// at converts a time for historycheck.
func at(t time.Time, w *world) int64 { return int64(t.Sub(w.start)) }
