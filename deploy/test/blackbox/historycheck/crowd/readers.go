package crowd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/api"
)

// kind is a way to read.
type kind struct {
	name string
	read func(*user)
	// cookies: it keeps them, as browsers do.
	cookies bool
}

// kinds are the ways in which users read; they are assigned in turn.
var kinds = []kind{
	{name: "keeps to its cursor", read: func(u *user) { u.readByCursor(u.crowd.o.URL, keep) }},
	{name: "goes back to an older cursor now and then", read: func(u *user) { u.readByCursor(u.crowd.o.URL, goBack) }},
	{name: "keeps to its cursor", read: func(u *user) { u.readByCursor(u.crowd.o.URL, keep) }},
	{name: "is killed after each answer and goes on from the cursor it had stored", read: func(u *user) { u.readByCursor(u.crowd.o.URL, die) }},
	{name: "reads a stream", read: (*user).readStream},
	{name: "has its answers cut in the middle", read: func(u *user) { u.readByCursor(u.crowd.cutURL(), keep) }},
	{name: "keeps cookies and no cursor", read: (*user).readSession, cookies: true},
	{name: "keeps neither", read: (*user).readSession},
}

func (c *Crowd) cutURL() string {
	if c.o.Cut != "" {
		return c.o.Cut
	}
	return c.o.URL
}

// next returns the cursor that a reader goes on from, given the one it had, the one it got, and an older one.
type next func(had, got, older string) (goOn, remember string)

func keep(_, got, older string) (string, string) { return got, older }

// goBack: what was given once must be given again unchanged.
func goBack(_, got, older string) (string, string) {
	if rand.N(10) == 0 {
		return older, got
	}
	return got, older
}

// die: some deaths come before the cursor is stored.
func die(had, got, older string) (string, string) {
	transport.CloseIdleConnections()
	if rand.N(3) == 0 {
		return had, older
	}
	return got, older
}

// readByCursor polls until the crowd ends and it has reached the inbox's head at that time.
func (u *user) readByCursor(url string, next next) {
	c := u.crowd
	after, older := "0", "0"
	for {
		var p api.PollResponse
		if closed(c.stopReading) {
			next = keep
			if u.nothingAfter(position(after)) {
				return
			}
		}
		status := u.call(http.MethodGet, url, "/api/messages/poll?limit=20&wait=2&after="+after, nil, &p)
		if status != http.StatusOK {
			c.pollFailed(u.name, status)
			continue
		}
		if p.Type == api.PollReset {
			c.fault("%s was told to begin anew after %s", u.name, after)
			return
		}
		c.saw(u.name, position(after), position(p.Cursor), p.Messages, p.Skipped)
		after, older = next(after, p.Cursor, older)
	}
}

func (c *Crowd) pollFailed(reader string, status int) {
	c.mu.Lock()
	c.pollErrors[status]++
	if status >= 400 && status < 500 {
		c.faults = append(c.faults, fmt.Sprintf("%s: a poll was refused: %d", reader, status))
	}
	c.mu.Unlock()
	<-time.After(retryPause)
}

// saw records an answer.
func (c *Crowd) saw(reader string, after, cursor int64, messages []api.Message, skipped []int64) {
	a := historycheck.Answer{Reader: reader, After: after, Cursor: cursor, Skipped: skipped}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		a.Messages = append(a.Messages, historycheck.Seen{Position: m.Seq, MessageID: m.MessageID, Sender: m.Sender, Content: m.EncryptedContent})
		if _, before := c.arrivedAt[arrival{reader, m.EncryptedContent}]; !before {
			c.arrivedAt[arrival{reader, m.EncryptedContent}] = now
		}
		for name, key := range m.RecipientKeys {
			if name != reader || key != "key for "+reader {
				c.faults = append(c.faults, fmt.Sprintf("%s was handed the key %q of %s", reader, key, name))
			}
		}
	}
	c.answers = append(c.answers, a)
}

// position returns the position in a cursor.
func position(cursor string) int64 {
	n, err := strconv.ParseInt(cursor[strings.IndexByte(cursor, '.')+1:], 10, 64)
	if err != nil {
		panic(fmt.Sprintf("cursor %q: %v", cursor, err))
	}
	return n
}

// readStream reads Server-Sent Events, and reconnects after the last event whenever the stream ends.
func (u *user) readStream() {
	c := u.crowd
	at := int64(0)
	for {
		if closed(c.stopReading) && u.nothingAfter(at) {
			return
		}
		at = u.streamFrom(at)
	}
}

// streamFor bounds one stream, so that streams also end while nothing is wrong.
const streamFor = 3 * time.Second

// streamFrom reads one stream and returns the position of its last complete event.
func (u *user) streamFrom(at int64) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), streamFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/messages/stream?after=%d", u.crowd.o.URL, at), nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		u.crowd.pollFailed(u.name, 0)
		return at
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		u.crowd.pollFailed(u.name, res.StatusCode)
		return at
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	event := map[string]string{}
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ": "); ok {
			event[name] = value
			continue
		}
		at = u.event(at, event)
		clear(event)
	}
	return at
}

// event processes one event and returns the position it leads to.
func (u *user) event(at int64, event map[string]string) int64 {
	_, position, _ := strings.Cut(event["id"], ".")
	to, err := strconv.ParseInt(position, 10, 64)
	if err != nil || event["event"] == "cursor" {
		return at // a heartbeat, or the beginning of a stream on which there is nothing yet
	}
	if event["event"] == "skipped" {
		var p api.PollResponse
		if json.Unmarshal([]byte(event["data"]), &p) == nil {
			u.crowd.sawSkipped(u.name, p.Skipped)
		}
		return to
	}
	var m api.Message
	if err := json.Unmarshal([]byte(event["data"]), &m); err != nil {
		u.crowd.fault("%s: event %d: %v", u.name, to, err)
		return to
	}
	u.crowd.saw(u.name, to-1, to, []api.Message{m}, nil)
	return to
}

// sawSkipped records skipped positions, one answer each.
func (c *Crowd) sawSkipped(reader string, skipped []int64) {
	for _, p := range skipped {
		c.saw(reader, p-1, p, nil, []int64{p})
	}
}

// readSession reads as older clients do: one message a poll, by the session cursor. It must get each message in order, and may get one
// again if its answer could not be written.
func (u *user) readSession() {
	c := u.crowd
	last, lastID := int64(0), ""
	for {
		var p api.PollResponse
		status := u.call(http.MethodGet, c.o.URL, "/api/messages/poll", nil, &p)
		if status != http.StatusOK {
			c.pollFailed(u.name, status)
			continue
		}
		if p.Data == nil {
			if closed(c.stopReading) && u.nothingAfter(last) {
				return
			}
			continue
		}
		m := *p.Data
		switch {
		case m.Seq == last && m.MessageID == lastID:
			c.again()
		case m.Seq <= last:
			c.fault("%s was given position %d after %d by its session", u.name, m.Seq, last)
		default:
			for skipped := last + 1; skipped < m.Seq; skipped++ {
				c.sawSkipped(u.name, []int64{skipped})
			}
		}
		c.saw(u.name, m.Seq-1, m.Seq, []api.Message{m}, nil)
		last, lastID = m.Seq, m.MessageID
	}
}

// settled is longer than dead nodes leave positions undecided.
const settled = 8 * time.Second

// nothingAfter reports whether the inbox holds nothing after a position, decided or not.
func (u *user) nothingAfter(last int64) bool {
	path := fmt.Sprintf("/api/messages/poll?wait=%d&after=%d", int(settled.Seconds()), last)
	for range 2 { // the first may have begun while something was under way
		var rest api.PollResponse
		if u.call(http.MethodGet, u.crowd.o.URL, path, nil, &rest) != http.StatusOK || rest.Type == api.PollReset || len(rest.Messages) > 0 {
			return false
		}
	}
	return true
}

func (c *Crowd) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.repeated++
}

// compareHistory requires that the pages of the history hold what the polls delivered.
func (u *user) compareHistory() {
	c := u.crowd
	delivered := map[string]int64{}
	c.mu.Lock()
	for _, a := range c.answers {
		if a.Reader == u.name {
			for _, m := range a.Messages {
				delivered[m.MessageID] = m.Position
			}
		}
	}
	c.mu.Unlock()
	paged := map[string]int64{}
	before := ""
	for {
		var page api.HistoryResponse
		status := u.call(http.MethodGet, c.o.URL, "/api/messages/history?limit=200"+before, nil, &page)
		if status != http.StatusOK {
			c.pollFailed(u.name, status)
			continue
		}
		for _, m := range page.Messages {
			if m.RecipientKeys[u.name] != "" { // else it was sent, not received
				paged[m.MessageID] = m.Seq
			}
		}
		if page.Before == nil {
			break
		}
		before = fmt.Sprint("&before=", *page.Before)
	}
	if len(paged) != len(delivered) {
		c.fault("%s: the history holds %d received messages, the polls delivered %d", u.name, len(paged), len(delivered))
	}
	for id, p := range delivered {
		if paged[id] != p {
			c.fault("%s: message %s was delivered at position %d and stands in the history at %d", u.name, id, p, paged[id])
			return
		}
	}
}
