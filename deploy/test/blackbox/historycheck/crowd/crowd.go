// Package crowd simulates users that send and read all the time, retry what fails, and record all they see for historycheck to judge. It
// speaks plain HTTP, knows nothing of the server's internals, and encrypts nothing.
package crowd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/api"
)

// Options say who is in the crowd and what they do.
type Options struct {
	// URL is the server's. Cut, if set, is another address of it, where answers may break off anywhere: some readers use it.
	URL, Cut string
	// Users is the number of users. Each reads in its own way (see kinds), and Senders of them send.
	Users, Senders int
	// Pause is the longest pause between two sends of one user.
	Pause time.Duration
	// MaxRecipients bounds the recipients of a message.
	MaxRecipients int
	// Prefix is the prefix of the users' names.
	Prefix string
}

// Crowd is a set of users. Start it, let it run, and Finish.
type Crowd struct {
	o     Options
	names []string
	users []*user
	clock time.Time

	stopSending, stopReading chan struct{}
	sending, reading         sync.WaitGroup

	acknowledged atomic.Int64
	mu           sync.Mutex
	attempts     []historycheck.Attempt
	answers      []historycheck.Answer
	faults       []string
	sendErrors   map[int]int
	pollErrors   map[int]int
	// repeated counts the messages that a session without a cursor got twice in a row.
	repeated int
	// ackedAt is when a content was acknowledged; arrivedAt when a reader first got it.
	ackedAt   map[string]int64
	arrivedAt map[arrival]int64
}

type arrival struct{ reader, content string }

// user is one of the crowd.
type user struct {
	crowd *Crowd
	name  string
	token string
	kind  kind
	// jar is nil unless it keeps cookies.
	jar http.CookieJar
	id  int
	// repeatsLate: failed sends are repeated at the end, as by a client that goes away and comes back.
	repeatsLate bool
}

// New makes a crowd and registers its users.
func New(ctx context.Context, o Options) (*Crowd, error) {
	c := &Crowd{
		o: o, clock: time.Now(), stopSending: make(chan struct{}), stopReading: make(chan struct{}),
		sendErrors: map[int]int{}, pollErrors: map[int]int{}, ackedAt: map[string]int64{}, arrivedAt: map[arrival]int64{},
	}
	for i := range o.Users {
		u := &user{crowd: c, name: fmt.Sprintf("%s%d", o.Prefix, i), id: i, kind: kinds[i%len(kinds)], repeatsLate: i%2 == 1}
		if u.kind.cookies {
			jar, err := cookiejar.New(nil)
			if err != nil {
				return nil, err
			}
			u.jar = jar
		}
		c.users, c.names = append(c.users, u), append(c.names, u.name)
	}
	var registering sync.WaitGroup
	faults := make([]error, len(c.users))
	for i, u := range c.users {
		registering.Go(func() { faults[i] = u.register(ctx) })
	}
	registering.Wait()
	return c, errors.Join(faults...)
}

// Tokens returns the tokens of the users, by name.
func (c *Crowd) Tokens() map[string]string {
	tokens := map[string]string{}
	for _, u := range c.users {
		tokens[u.name] = u.token
	}
	return tokens
}

// Start starts all readers and senders.
func (c *Crowd) Start() {
	for i, u := range c.users {
		if i < c.o.Senders {
			c.sending.Go(u.send)
		}
		c.reading.Go(func() { u.kind.read(u) })
	}
}

// Acknowledged is the number of sends acknowledged so far.
func (c *Crowd) Acknowledged() int64 { return c.acknowledged.Load() }

// Finish waits until the last sends are acknowledged and the readers have read their inboxes to the end, and judges the run.
func (c *Crowd) Finish() Report {
	close(c.stopSending)
	c.sending.Wait()
	close(c.stopReading)
	c.reading.Wait()
	for _, u := range c.users {
		u.compareHistory()
	}
	for _, u := range c.users {
		u.closeIdle()
	}
	r := Report{Report: historycheck.Check(c.attempts, c.answers), SendErrors: c.sendErrors, PollErrors: c.pollErrors, Repeated: c.repeated, Elapsed: time.Since(c.clock)}
	r.Faults = append(r.Faults, c.faults...)
	for a, at := range c.arrivedAt {
		if acked, ok := c.ackedAt[a.content]; ok && time.Duration(at-acked) > r.WorstDelay {
			r.WorstDelay = time.Duration(at - acked)
			r.Worst = fmt.Sprintf("%s, acknowledged after %s, to %s", a.content, time.Duration(acked).Round(time.Millisecond), a.reader)
		}
	}
	return r
}

// Report is the verdict, with what the crowd saw.
type Report struct {
	historycheck.Report
	// SendErrors and PollErrors count the answers other than success, by status; 0 stands for no or an incomplete answer.
	SendErrors, PollErrors map[int]int
	// WorstDelay is the longest time from an acknowledgement to the first arrival at a recipient.
	WorstDelay time.Duration
	// Worst names that message and its recipient.
	Worst string
	// Repeated counts the messages that a session without a cursor got twice in a row.
	Repeated int
	Elapsed  time.Duration
}

// String summarizes the report and lists its faults.
func (r Report) String() string {
	return fmt.Sprintf("%.0f s, send errors %s, poll errors %s, %d repeated to sessions, worst delay %s (%s); %s",
		r.Elapsed.Seconds(), byStatus(r.SendErrors), byStatus(r.PollErrors), r.Repeated, r.WorstDelay.Round(time.Millisecond), r.Worst, r.Report.String())
}

func byStatus(counts map[int]int) string {
	if len(counts) == 0 {
		return "none"
	}
	var list []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%d×%d", counts[status], status))
	}
	return strings.Join(list, " ")
}

func (c *Crowd) now() int64 { return int64(time.Since(c.clock)) }

func (c *Crowd) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// unsent is a failed send that is to be repeated.
type unsent struct {
	content string
	to      []string
}

// send sends messages one after another. Failed sends are repeated until they are acknowledged, at once or, for some users, at the end: by
// then readers have decided what the first attempt left undecided.
func (u *user) send() {
	c := u.crowd
	var later []unsent
	for n := 0; !closed(c.stopSending); n++ {
		s := unsent{fmt.Sprintf("%s-%d", u.name, n), c.pick()}
		for !u.try(s) {
			if u.repeatsLate {
				later = append(later, s)
				break
			}
			<-time.After(retryPause)
		}
		select {
		case <-time.After(rand.N(c.o.Pause + 1)):
		case <-c.stopSending:
		}
	}
	for _, s := range later {
		for !u.try(s) {
			<-time.After(retryPause)
		}
	}
}

// retryPause is how long a client waits after an error: shorter than a real one's, so that more happens.
const retryPause = 20 * time.Millisecond

// try sends once and reports whether the send was acknowledged.
func (u *user) try(s unsent) bool {
	c := u.crowd
	a := historycheck.Attempt{Sender: u.name, Key: s.content, Content: s.content, Recipients: s.to, Began: c.now()}
	var answer api.SendResponse
	status := u.call(http.MethodPost, c.o.URL, "/api/messages/send", sendRequest(s.content, s.to), &answer)
	a.Ended = c.now()
	a.Acknowledged = status == http.StatusCreated || status == http.StatusOK
	a.MessageID = answer.MessageID
	c.record(a, status)
	if a.Acknowledged {
		c.acknowledged.Add(1)
	}
	return a.Acknowledged
}

func (c *Crowd) record(a historycheck.Attempt, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts = append(c.attempts, a)
	if a.Acknowledged {
		if _, before := c.ackedAt[a.Content]; !before {
			c.ackedAt[a.Content] = a.Ended
		}
		return
	}
	c.sendErrors[status]++
	if status >= 400 && status < 500 {
		c.faults = append(c.faults, fmt.Sprintf("%s: send of %s was refused: %d", a.Sender, a.Key, status))
	}
}

// pick returns at least one of the users.
func (c *Crowd) pick() []string {
	names := slices.Clone(c.names)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:1+rand.N(min(c.o.MaxRecipients, len(names)))]
}

func sendRequest(content string, to []string) api.SendRequest {
	r := api.SendRequest{EncryptedContent: content, IV: "00", RecipientKeys: map[string]string{}, ClientMessageID: content}
	for _, name := range to {
		r.RecipientKeys[name] = "key for " + name
	}
	return r
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
