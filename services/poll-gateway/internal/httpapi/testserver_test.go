package httpapi

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

const patience = 20 * time.Second

// library has the inboxes and session cursors of many users.
type library struct {
	mu      sync.Mutex
	books   map[string][]inbox.Item
	cursors map[string]store.SessionCursor
	// epoch is the log's epoch.
	epoch atomic.Pointer[string]
}

func (l *library) add(user, text string) inbox.Item {
	l.mu.Lock()
	defer l.mu.Unlock()
	item := inbox.Item{
		Entry: store.Entry{
			User: user, Position: int64(len(l.books[user]) + 1), Kind: store.Received, ExpiresAt: time.Now().Add(time.Hour),
		},
		Message: store.Message{Sender: "Alice", Recipients: []string{user}, Content: text},
	}
	l.books[user] = append(l.books[user], item)
	return item
}

func (l *library) Read(_ context.Context, user string, after int64, limit int) (inbox.Batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.books[user]
	b := inbox.Batch{Next: after, PastHead: after > int64(len(all))}
	if b.PastHead {
		return b, nil
	}
	b.Items = all[after:min(after+int64(limit), int64(len(all)))]
	b.Next += int64(len(b.Items))
	b.More = b.Next < int64(len(all))
	return b, nil
}

func (*library) Receipts(context.Context, store.Message) ([]store.ReadReceipt, error) {
	return nil, nil
}

func (l *library) Head(_ context.Context, user string, _ int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.books[user])), nil
}

func (l *library) SessionCursor(_ context.Context, _, id string) (store.SessionCursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursors[id], nil
}

func (l *library) OfferSession(_ context.Context, _, id string, seen store.SessionCursor, position int64) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cursors[id] != seen {
		return false, nil
	}
	l.cursors[id] = store.SessionCursor{Epoch: seen.Epoch, Position: seen.Position, Offered: position, Offers: seen.Offers + 1}
	return true, nil
}

func (l *library) WithdrawOffer(_ context.Context, _, id string, seen store.SessionCursor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.cursors[id]; at.Offers == seen.Offers+1 {
		l.cursors[id] = store.SessionCursor{Epoch: at.Epoch, Position: at.Position, Offers: at.Offers}
	}
	return nil
}

func (l *library) AdvanceSession(_ context.Context, _, id, epoch string, position int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.cursors[id]
	at.Epoch, at.Position = epoch, max(at.Position, position)
	l.cursors[id] = at
	return nil
}

func (l *library) ResetSession(_ context.Context, _, id, epoch string, position int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursors[id] = store.SessionCursor{Epoch: epoch, Position: position}
	return nil
}

func (l *library) BeginEpoch(_ context.Context, _, id, epoch string, _ time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursors[id+"/"+epoch] = store.SessionCursor{Epoch: epoch}
	return nil
}

func (l *library) BegunEpoch(_ context.Context, _, id, epoch string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, begun := l.cursors[id+"/"+epoch]
	return begun, nil
}

// Epoch returns the log's epoch; restore changes it.
func (l *library) Epoch(context.Context) (string, error) { return *l.epoch.Load(), nil }

func (l *library) restore() {
	again := "restored" // see store.RestoredEpoch
	l.epoch.Store(&again)
}

// desk is a token checker: the token is the user's name.
type desk struct {
	// until is when no token is accepted any more, in Unix nanoseconds.
	until atomic.Int64
	// refused: every token is refused.
	refused atomic.Bool
}

func (d *desk) Check(_ context.Context, name string) (token.Identity, error) {
	switch until := time.Unix(0, d.until.Load()); {
	case d.refused.Load():
		return token.Identity{}, token.ErrInvalid
	case !time.Now().Before(until):
		return token.Identity{}, token.ErrExpired
	}
	expiresAt := time.Unix(0, d.until.Load()).Add(-token.Leeway)
	return token.Identity{Username: name, Subject: name, SessionID: name, TokenID: name, ExpiresAt: expiresAt}, nil
}

// testServer is a whole server: HTTP, gateway, and a Lot if it has one.
type testServer struct {
	t        testing.TB
	library  *library
	desk     *desk
	gateway  *gateway.Gateway
	lot      *parking.Lot
	api      *API
	server   *httpserver.Server
	registry *prometheus.Registry
	// revoked are the users whose tokens are revoked.
	revoked sync.Map
	stop    func()
}

func newTestServer(t testing.TB, parks bool) *testServer {
	return newTestServerWith(t, parks, parking.Config{IdleTimeout: time.Minute, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: 1 << 20})})
}

func newTestServerWith(t testing.TB, parks bool, cfg parking.Config) *testServer {
	h := &testServer{
		t: t, library: &library{books: map[string][]inbox.Item{}, cursors: map[string]store.SessionCursor{}},
		desk: &desk{}, registry: prometheus.NewRegistry(),
	}
	h.desk.until.Store(time.Now().Add(time.Hour).UnixNano())
	epoch := "epoch"
	h.library.epoch.Store(&epoch)
	h.gateway = gateway.New(gateway.Config{
		MaxPolls: 1 << 20, MaxPollsPerUser: 100, RingEvents: 4, RingBytes: 1 << 20, AllRingBytes: 1 << 26, VerifyEvery: time.Minute, AwayEvery: time.Second,
		Linger: time.Minute, StoreReads: 4, Revoked: func(id token.Identity) bool {
			_, revoked := h.revoked.Load(id.Subject)
			return revoked
		}, Epochs: gateway.NewEpochs(h.library.Epoch),
	}, h.library, slog.New(slog.DiscardHandler), gateway.NewMetrics(nil))
	h.gateway.Attach(silence{})
	opts := httpserver.Options{Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Registry: h.registry}
	h.api = &API{
		Gateway: h.gateway, Sessions: h.library,
		Tokens: h.desk, Limiter: ratelimit.NewInProcess(ratelimit.Quota{Events: 1000, Period: time.Minute}, 0), PollWait: time.Minute,
		Unread: NewUnread(admission.New(httpserver.AnswerBound(64 << 20))), Log: opts.Log,
	}
	var err error
	h.lot, err = parking.New(cfg, parking.NewMetrics(h.registry))
	require.NoError(t, err)
	if parks {
		h.api.Lot, opts.Keeper = h.lot, h.lot
	}
	h.server, err = httpserver.New(t.Context(), httpserver.Config{
		AdminAddress: "127.0.0.1:0", CORSOrigins: []string{"https://chat.example"}, MaxHeaderBytes: 1 << 14, IdleTimeout: time.Minute,
	}, opts)
	require.NoError(t, err)
	h.api.Routes(h.server.Routes())
	served := make(chan error, 1)
	go func() { served <- h.server.Serve() }()
	h.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, h.server.Shutdown(ctx))
		require.NoError(t, <-served)
		h.gateway.Stop()
		h.api.Flush()
		h.lot.Stop()
		h.api.Stop()
		require.Zero(t, h.gateway.Open())
		require.Zero(t, h.metric("sealpost_parking_connections"))
	})
	t.Cleanup(h.stop)
	return h
}

// metric sums all series of a metric.
func (h *testServer) metric(name string) (sum float64) {
	families, err := h.registry.Gather()
	require.NoError(h.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// deliver stores a message and tells the gateway of it.
func (h *testServer) deliver(user, text string) {
	e := delivery.Stored(h.library.add(user, text), nil)
	h.gateway.Receive(user, e.Encode(), nil)
}

func (h *testServer) revoke(user string) {
	h.revoked.Store(user, true)
	h.gateway.Revoked(revocation.Record{Subject: user, MinGeneration: 1, ExpiresAt: time.Now().Add(time.Hour)})
}

// waiting returns when so many polls are parked, or wait in their handlers.
func (h *testServer) waiting(polls int64) {
	require.Eventually(h.t, func() bool {
		return h.gateway.Open() == polls && (h.api.Lot == nil || h.metric("sealpost_parking_connections") == float64(polls))
	}, patience, time.Millisecond)
}

// caller is a user with one connection.
type caller struct {
	t    testing.TB
	name string
	conn net.Conn
	in   *bufio.Reader
}

func (h *testServer) caller(name string) *caller {
	var d net.Dialer
	conn, err := d.DialContext(h.t.Context(), "tcp", h.server.Address())
	require.NoError(h.t, err)
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(patience)))
	h.t.Cleanup(func() { _ = conn.Close() })
	return &caller{h.t, name, conn, bufio.NewReader(conn)}
}

// get sends a request.
func (c *caller) get(path string, headers ...string) {
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: house", "Authorization: Bearer " + c.name}, headers...)
	_, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	require.NoError(c.t, err)
}

// poll asks for the messages from the beginning or, without a cursor, after the session cursor.
func (c *caller) poll(cursor bool, headers ...string) {
	path := "/api/messages/poll"
	if cursor {
		path += "?after=0"
	}
	c.get(path, headers...)
}

// reply is the answer to a caller.
type reply struct {
	status int
	// close: the connection's last answer.
	close  bool
	header http.Header
	body   string
}

// answer reads a response.
func (c *caller) answer() reply {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	require.NoError(c.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, res.Body.Close())
	return reply{res.StatusCode, res.Close, res.Header, string(body)}
}

func epochs() *gateway.Epochs {
	return gateway.NewEpochs(func(context.Context) (string, error) { return "epoch", nil })
}
