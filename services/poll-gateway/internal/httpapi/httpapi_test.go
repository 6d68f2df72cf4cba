package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf holds messages at positions 1, 2 …; fail makes it fail.
type shelf struct {
	mu       sync.Mutex
	messages []string
	fail     error
	reads    int
}

func (s *shelf) Read(_ context.Context, _ string, after int64, limit int) (inbox.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	b := inbox.Batch{Next: after, PastHead: after > int64(len(s.messages))}
	for p := after; p < int64(len(s.messages)) && len(b.Items) < limit; p++ {
		b.Items = append(b.Items, inbox.Item{
			Entry:   store.Entry{User: "bob", Position: p + 1, Kind: store.Received, ExpiresAt: time.Now().Add(time.Hour)},
			Message: store.Message{Sender: "Alice", Recipients: []string{"Bob"}, Content: s.messages[p]},
		})
		b.Next = p + 1
	}
	return b, s.fail
}

func (s *shelf) Receipts(context.Context, store.Message) ([]store.ReadReceipt, error) {
	return nil, nil
}
func (s *shelf) Head(context.Context, string, int64) (int64, error) {
	return int64(len(s.messages)), s.fail
}

type silence struct{}

func (silence) Subscribe(context.Context, string) (bus.Subscription, error) { return silence{}, nil }
func (silence) Unsubscribe() error                                          { return nil }
func (silence) Connected() bool                                             { return true }

// sessions is one session's cursor.
type sessions struct {
	mu      sync.Mutex
	epoch   string
	cursor  int64
	offered int64
	offers  int64
	fail    error
}

func (s *sessions) SessionCursor(context.Context, string, string) (store.SessionCursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.SessionCursor{Epoch: s.epoch, Position: s.cursor, Offered: s.offered, Offers: s.offers}, s.fail
}

func (s *sessions) BeginEpoch(context.Context, string, string, string, time.Time) error {
	return s.fail
}

func (s *sessions) BegunEpoch(context.Context, string, string, string) (bool, error) {
	return false, s.fail
}

func (s *sessions) OfferSession(_ context.Context, _, _ string, seen store.SessionCursor, position int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen != (store.SessionCursor{Epoch: s.epoch, Position: s.cursor, Offered: s.offered, Offers: s.offers}) {
		return false, nil
	}
	s.offered = position
	s.offers++
	return true, nil
}

func (s *sessions) WithdrawOffer(_ context.Context, _, _ string, seen store.SessionCursor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil && s.offers == seen.Offers+1 {
		s.offered = 0
	}
	return s.fail
}

func (s *sessions) AdvanceSession(_ context.Context, _, _, epoch string, position int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.epoch, s.cursor = epoch, max(s.cursor, position)
	}
	return s.fail
}

func (s *sessions) ResetSession(_ context.Context, _, _, epoch string, position int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.cursor = epoch, position
	return nil
}

type open struct{}

func (open) Check(context.Context, string) (token.Identity, error) {
	return token.Identity{Username: "Bob", Subject: "bob", SessionID: "s", ExpiresAt: time.Now().Add(time.Hour)}, nil
}

type rig struct {
	t        testing.TB
	shelf    *shelf
	sessions *sessions
	gateway  *gateway.Gateway
	engine   *gin.Engine
	api      *API
}

func newRig(t testing.TB, messages ...string) *rig { return newRigWith(t, open{}, messages...) }

func newRigWith(t testing.TB, tokens httpserver.TokenChecker, messages ...string) *rig {
	r := &rig{t: t, shelf: &shelf{messages: messages}, sessions: &sessions{}, engine: gin.New()}
	r.gateway = gateway.New(gateway.Config{
		MaxPolls: 100, MaxPollsPerUser: 100, RingEvents: 4, RingBytes: 1 << 20, AllRingBytes: 1 << 26, VerifyEvery: time.Minute, AwayEvery: time.Second,
		Linger: time.Minute, StoreReads: 4, Revoked: func(token.Identity) bool { return false }, Epochs: epochs(),
	}, r.shelf, slog.New(slog.DiscardHandler), gateway.NewMetrics(nil))
	r.gateway.Attach(silence{})
	t.Cleanup(r.gateway.Stop)
	r.api = &API{
		Gateway: r.gateway, Sessions: r.sessions,
		Tokens: tokens, Limiter: ratelimit.Off{}, PollWait: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Unread: NewUnread(admission.New(httpserver.AnswerBound(1 << 20))),
	}
	r.api.Routes(r.engine)
	return r
}

func (r *rig) get(path string, w http.ResponseWriter) {
	req := httptest.NewRequest(http.MethodGet, "/api/messages/"+path, nil)
	req.Header.Set("Authorization", "Bearer x")
	r.engine.ServeHTTP(w, req)
}

func (r *rig) poll(query string) api.PollResponse {
	w := httptest.NewRecorder()
	r.get("poll"+query, w)
	require.Equal(r.t, http.StatusOK, w.Code, w.Body.String())
	var p api.PollResponse
	require.NoError(r.t, json.Unmarshal(w.Body.Bytes(), &p))
	return p
}

// broken is the connection of a client that has gone.
type broken struct{ *httptest.ResponseRecorder }

var errGone = errors.New("the client has gone")

func (b broken) Write([]byte) (int, error) { return 0, errGone }

// unflushed is a connection on which only the flush finds that the client has gone.
type unflushed struct{ *httptest.ResponseRecorder }

func (u unflushed) FlushError() error { return errGone }

func TestAMessageWhoseAnswerCouldNotBeWrittenIsGivenAgain(t *testing.T) {
	r := newRig(t, "one", "two")
	for _, gone := range []http.ResponseWriter{broken{httptest.NewRecorder()}, unflushed{httptest.NewRecorder()}} {
		r.get("poll", gone)
		require.Zero(t, r.sessions.cursor)
	}
	require.Equal(t, "one", r.poll("").Data.EncryptedContent)
	require.EqualValues(t, 1, r.sessions.cursor)
	require.Equal(t, "two", r.poll("").Data.EncryptedContent)
	require.Equal(t, api.PollResponse{Type: api.PollTimeout}, r.poll(""))
}

// TestASessionFromBeforeEpochsWereKeptStartsOverPastTheHead: the epoch of its cursor is unknown.
func TestASessionFromBeforeEpochsWereKeptStartsOverPastTheHead(t *testing.T) {
	r := newRig(t, "one")
	r.sessions.cursor = 9
	require.Equal(t, api.PollTimeout, r.poll("").Type)
	require.Equal(t, "one", r.poll("").Data.EncryptedContent)
	require.EqualValues(t, 1, r.sessions.cursor)
}

func TestAStoreThatIsAwayIsToldAsSuch(t *testing.T) {
	r := newRig(t)
	r.shelf.fail, r.sessions.fail = store.ErrUnavailable, store.ErrUnavailable
	for _, path := range []string{"poll", "poll?after=0", "poll?after=latest", "stream"} {
		w := httptest.NewRecorder()
		r.get(path, w)
		require.Equal(t, http.StatusServiceUnavailable, w.Code, path)
		require.Contains(t, w.Body.String(), api.CodeUnavailable)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
	}
}

func TestANodeThatDrainsSaysSo(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.gateway.Drain(t.Context(), 0))
	w := httptest.NewRecorder()
	r.get("poll?after=0", w)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), api.CodeDraining)
}

func TestAStreamGivesMessagesWithTheirPositionsAndEndsWithItsClient(t *testing.T) {
	r := newRig(t, "one", "two")
	server := httptest.NewServer(r.engine)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/messages/stream?after=1", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer x")
	res, err := server.Client().Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	events := bufio.NewReader(res.Body)
	for _, want := range []string{`^retry: [0-9]+\n$`, `^id: e.*\.2\n$`, `^data: {`} {
		line, err := events.ReadString('\n')
		require.NoError(t, err)
		require.Regexp(t, want, line)
	}
	cancel()
	require.Eventually(t, func() bool { return r.gateway.Open() == 0 }, 10*time.Second, time.Millisecond)
}

// closing accepts a token while its answers are nil, one answer a check.
type closing struct{ answers []error }

func (c *closing) Check(ctx context.Context, raw string) (token.Identity, error) {
	err := c.answers[0]
	c.answers = c.answers[1:]
	if err != nil {
		return token.Identity{}, err
	}
	return open{}.Check(ctx, raw)
}

func TestAStreamEndsWhenItsTokenIsRefused(t *testing.T) {
	for _, refusal := range []error{token.ErrInvalid, token.ErrRevoked} {
		tokens := &closing{answers: []error{nil, nil, token.ErrUnavailable, refusal}}
		r := newRigWith(t, tokens, make([]string, 3*defaultLimit)...)
		w := httptest.NewRecorder()
		r.get("stream?after=0", w)
		require.Equal(t, http.StatusOK, w.Code)
		require.Empty(t, tokens.answers, "three answers of %d messages, and the end", defaultLimit)
	}
}

func TestEventsAreWellFormed(t *testing.T) {
	require.Equal(t, ": heartbeat\n\n", string(appendEvents(nil, gateway.Answer{Position: 3}, "e")))
	require.Equal(t, "event: reset\nid: e.0\ndata: {\"type\":\"reset\",\"cursor\":\"e.0\"}\n\n", string(appendEvents(nil, gateway.Answer{Reset: true}, "e")))
	got := string(appendEvents(nil, gateway.Answer{Objects: []gateway.Object{{Position: 5, JSON: delivery.JSON{Own: []byte(`{}`)}}}, Skipped: []int64{4, 6}, Position: 6}, "e"))
	require.Equal(t, "event: skipped\nid: e.4\ndata: {\"skipped\":[4]}\n\nid: e.5\ndata: {}\n\nevent: skipped\nid: e.6\ndata: {\"skipped\":[6]}\n\n", got,
		"in the order of positions: who breaks off after any of them has been told of all before it")
}

// FuzzPoll: a poll with any parameters ends in an answer, a 400 that names a parameter, or a 401.
func FuzzPoll(f *testing.F) {
	r := newRig(f, "one", "two", "three")
	for _, seed := range []string{"after=0", "after=latest&wait=0", "after=epoch.1&limit=2", "after=-1", "limit=x", "after=1&after=x", "%zz", "wait=61&after=0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		req := &http.Request{Method: http.MethodGet, Header: http.Header{"Authorization": {"Bearer x"}}}
		req.URL = httptest.NewRequest(http.MethodGet, "/api/messages/poll", nil).URL
		// The wait is not fuzzed.
		req.URL.RawQuery = "wait=0&" + query
		w := httptest.NewRecorder()
		r.engine.ServeHTTP(w, req)
		switch w.Code {
		case http.StatusOK:
		case http.StatusBadRequest:
			if !strings.Contains(w.Body.String(), `"field":"`) {
				t.Fatalf("%q: %s", query, w.Body)
			}
		default:
			t.Fatalf("%q: status %d", query, w.Code)
		}
	})
}

// offered puts an offer of the first message into the session cursor, as a node does before it writes an answer.
func (r *rig) offered() {
	r.sessions.mu.Lock()
	defer r.sessions.mu.Unlock()
	r.sessions.offered = 1
}

func TestAPollWaitsForTheAnswerOfAnotherNodeAndDoesNotRepeatIt(t *testing.T) {
	r := newRig(t, "one", "two")
	r.offered()
	answered := make(chan api.PollResponse)
	go func() { answered <- r.poll("") }()
	require.NoError(t, r.sessions.AdvanceSession(t.Context(), "", "", "epoch", 1))
	require.Equal(t, "two", (<-answered).Data.EncryptedContent)
}

func TestWhatANodeOfferedThatDiedIsOfferedAgain(t *testing.T) {
	r := newRig(t, "one")
	r.offered()
	require.Equal(t, "one", r.poll("").Data.EncryptedContent)
	require.EqualValues(t, 1, r.sessions.cursor)
}

func TestOfTwoPollsOfOneSessionToTheOnlyNodeOneIsAnswered(t *testing.T) {
	r := newRig(t, "one")
	a := &API{Sessions: r.sessions, Alone: true}
	answer := gateway.Answer{Position: 1, Objects: []gateway.Object{{Position: 1}}}
	for _, want := range []int{1, 0} {
		var written gateway.Answer
		require.NoError(t, a.deliver(t.Context(), &session{}, answer, func(answer gateway.Answer) error {
			written = answer
			return nil
		}))
		require.Len(t, written.Objects, want)
	}
	require.EqualValues(t, 1, r.sessions.cursor)
}

func TestWhatFailsAfterTheAnswerIsLogged(t *testing.T) {
	var log bytes.Buffer
	s := &sessions{}
	a := &API{Sessions: s, Log: slog.New(slog.NewTextHandler(&log, nil))}
	answer := gateway.Answer{Position: 1, Objects: []gateway.Object{{Position: 1}}}
	for _, unwritten := range []error{nil, errors.New("the client has gone")} {
		s.fail, s.offered, s.offers = nil, 0, 0
		log.Reset()
		require.NoError(t, a.deliver(t.Context(), &session{}, answer, func(gateway.Answer) error {
			s.fail = store.ErrUnavailable
			return unwritten
		}))
		require.Contains(t, log.String(), store.ErrUnavailable.Error())
		require.Zero(t, s.cursor)
	}
}

func TestOfTwoPollsOfOneSessionOneIsAnswered(t *testing.T) {
	r := newRig(t, "one")
	a, s := &API{Sessions: r.sessions}, &session{}
	answer := gateway.Answer{Position: 1, Objects: []gateway.Object{{Position: 1}}}
	for _, want := range []bool{true, false} {
		ok, err := a.offer(t.Context(), s, answer)
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
	a.withdraw(t.Context(), s, answer)
	s.seen.Offers++
	ok, err := a.offer(t.Context(), s, answer)
	require.NoError(t, err)
	require.True(t, ok)
}

// TestASessionIsNeverSetBackWithoutANewEpoch: one stale read reset it, and the whole inbox was delivered again.
func TestASessionIsNeverSetBackWithoutANewEpoch(t *testing.T) {
	r := newRig(t, "one", "two")
	require.Equal(t, "one", r.poll("").Data.EncryptedContent)
	require.Equal(t, "two", r.poll("").Data.EncryptedContent)
	all := r.shelf.messages
	r.shelf.messages = nil // a replica that has nothing yet
	w := httptest.NewRecorder()
	r.get("poll", w)
	require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body.String())
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.EqualValues(t, 2, r.sessions.cursor)
	r.shelf.messages = slices.Concat(all, []string{"three"})
	require.Equal(t, "three", r.poll("").Data.EncryptedContent)

	r.sessions.epoch = "before"
	require.Equal(t, "one", r.poll("").Data.EncryptedContent)
	require.Equal(t, "epoch", r.sessions.epoch)
	require.Equal(t, "two", r.poll("").Data.EncryptedContent)
}
