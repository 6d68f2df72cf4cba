package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/services/standalone/app"
)

// TestWhatWasAcknowledgedSurvivesKill9 runs senders and readers against a server that is killed repeatedly. The history checker
// judges from their logs alone.
func TestWhatWasAcknowledgedSurvivesKill9(t *testing.T) {
	t.Parallel()
	const kills, senders = 5, 4
	dir := t.TempDir()
	server := start(t, dir, 0)
	port := portOf(t, server.url)
	r := &recorder{clock: time.Now()}
	users := []string{"Ann", "Ben", "Cid"}
	clients := make([]*client, len(users))
	for i, name := range users {
		clients[i] = newClient(t, server.url)
		clients[i].register(t, name)
	}
	gone := newClient(t, server.url)
	gone.register(t, "Gone")
	require.Equal(t, http.StatusOK, gone.call(t.Context(), http.MethodPost, "/api/auth/logout", nil, nil))

	stopSending, stopReading := make(chan struct{}), make(chan struct{})
	var sending, reading sync.WaitGroup
	for i := range senders {
		sending.Go(func() { r.send(clients[i%len(users)], users[i%len(users)], i, users, stopSending) })
	}
	for i, name := range users {
		reading.Go(func() { r.read(clients[i], name, stopReading) })
	}
	for range kills {
		r.waitFor(t, 40)
		server.kill()
		server = start(t, dir, port)
		require.Equal(t, http.StatusUnauthorized, gone.call(t.Context(), http.MethodGet, "/api/auth/profile", nil, nil),
			"a token that was logged out before the crash is good again")
	}
	r.waitFor(t, 40)
	close(stopSending)
	sending.Wait()
	close(stopReading)
	reading.Wait()

	report := historycheck.Check(r.attempts, r.answers)
	t.Log(report.String())
	require.Empty(t, report.Faults)
	require.Greater(t, report.Acknowledged, 40*kills)
	require.NoError(t, server.stop())
}

func portOf(t *testing.T, address string) int {
	u, err := url.Parse(address)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(u.Host)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

// recorder records what senders and readers saw.
type recorder struct {
	clock        time.Time
	mu           sync.Mutex
	attempts     []historycheck.Attempt
	answers      []historycheck.Answer
	acknowledged atomic.Int64
}

func (r *recorder) now() int64 { return int64(time.Since(r.clock)) }

// waitFor waits until n more sends have been acknowledged.
func (r *recorder) waitFor(t *testing.T, n int64) {
	t.Helper()
	want := r.acknowledged.Load() + n
	require.Eventually(t, func() bool { return r.acknowledged.Load() >= want }, time.Minute, time.Millisecond)
}

// send sends messages to some of the users, and repeats each until it is acknowledged.
func (r *recorder) send(c *client, sender string, id int, users []string, stop <-chan struct{}) {
	for n := 0; !closed(stop); n++ {
		content := fmt.Sprintf("%d-%d", id, n)
		to := slicesOf(users)
		for acknowledged := false; !acknowledged; {
			a := historycheck.Attempt{Sender: sender, Key: content, Content: content, Recipients: to, Began: r.now()}
			var answer api.SendResponse
			status := c.call(context.Background(), http.MethodPost, "/api/messages/send", sendRequest(content, to...), &answer)
			a.Acknowledged = status == http.StatusCreated || status == http.StatusOK
			a.MessageID, a.Ended = answer.MessageID, r.now()
			acknowledged = a.Acknowledged
			r.mu.Lock()
			r.attempts = append(r.attempts, a)
			r.mu.Unlock()
		}
		r.acknowledged.Add(1)
	}
}

// slicesOf returns at least one of the names.
func slicesOf(names []string) []string {
	picked := []string{names[rand.N(len(names))]}
	for _, name := range names {
		if name != picked[0] && rand.N(2) == 0 {
			picked = append(picked, name)
		}
	}
	return picked
}

// read polls with a cursor until stop is closed and the cursor has reached the inbox's head at that time. Now and then it returns
// to an older cursor, like a client that lost its newest one.
func (r *recorder) read(c *client, name string, stop <-chan struct{}) {
	after, older := "0", "0"
	for {
		var p api.PollResponse
		if closed(stop) && c.call(context.Background(), http.MethodGet, "/api/messages/poll?wait=0&after=latest", nil, &p) == http.StatusOK &&
			position(after) >= position(p.Cursor) {
			return
		}
		p = api.PollResponse{}
		if c.call(context.Background(), http.MethodGet, "/api/messages/poll?limit=20&wait=1&after="+after, nil, &p) != http.StatusOK {
			continue
		}
		r.record(name, after, p)
		if rand.N(20) == 0 && !closed(stop) {
			after, older = older, after // the server must give the same answers again
		} else {
			after = p.Cursor
		}
	}
}

func (r *recorder) record(reader, after string, p api.PollResponse) {
	a := historycheck.Answer{Reader: reader, After: position(after), Cursor: position(p.Cursor), Skipped: p.Skipped}
	for _, m := range p.Messages {
		a.Messages = append(a.Messages, historycheck.Seen{Position: m.Seq, MessageID: m.MessageID, Sender: m.Sender, Content: m.EncryptedContent})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, a)
}

// position parses the position of a cursor.
func position(cursor string) int64 {
	n, err := strconv.ParseInt(cursor[strings.IndexByte(cursor, '.')+1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAfterANewEpochReadersAreToldToBeginAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir, 0)
	ann := newClient(t, server.url)
	ann.register(t, "Ann")
	require.Equal(t, http.StatusCreated, ann.call(t.Context(), http.MethodPost, "/api/messages/send", sendRequest("one", "Ann"), nil))
	poll := func(after string) (p api.PollResponse) {
		require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodGet, "/api/messages/poll?wait=10&after="+after, nil, &p))
		return p
	}
	before := poll("0").Cursor
	var cfg app.Config
	require.NoError(t, config.Load(&cfg, []string{"DATA_DIR=" + dir}))
	_, err := app.NewEpoch(t.Context(), cfg)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, server.stop())
	epoch, err := app.NewEpoch(t.Context(), cfg)
	require.NoError(t, err)
	server = start(t, dir, 0)
	ann.url = server.url
	reset := poll(before)
	require.Equal(t, api.PollResponse{Type: api.PollReset, Cursor: epoch + ".0"}, reset)
	require.Equal(t, "one", poll(reset.Cursor).Messages[0].EncryptedContent)
}
