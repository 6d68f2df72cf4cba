package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// with sends the cookies of an earlier answer along.
func (r *rig) with(cookies []*http.Cookie) (text string, next []*http.Cookie) {
	req := httptest.NewRequest(http.MethodGet, "/api/messages/poll", nil)
	req.Header.Set("Authorization", "Bearer x")
	for _, c := range cookies {
		req.AddCookie(c)
	}
	w := httptest.NewRecorder()
	r.engine.ServeHTTP(w, req)
	require.Equal(r.t, http.StatusOK, w.Code, w.Body.String())
	return w.Body.String(), w.Result().Cookies() //nolint:bodyclose // a recorder's
}

// TestAnAnswerThatReachedOnlyAProxyIsGivenAgain: the proxy takes it for a client that has gone, and the server cannot see that. The client's
// cookie shows which answer was the last to arrive.
func TestAnAnswerThatReachedOnlyAProxyIsGivenAgain(t *testing.T) {
	r := newRig(t, "one", "two", "three")
	text, one := r.with(nil)
	require.Contains(t, text, "one")
	text, _ = r.with(one)
	require.Contains(t, text, "two")
	text, _ = r.with(one)
	require.Contains(t, text, "two", "its answer was lost")
	text, two := r.with(one)
	require.Contains(t, text, "two", "and once more")
	text, three := r.with(two)
	require.Contains(t, text, "three")
	text, three = r.with(three)
	require.JSONEq(t, `{"type":"timeout"}`, text)
	text, _ = r.with(three)
	require.JSONEq(t, `{"type":"timeout"}`, text)
	require.EqualValues(t, 3, r.sessions.cursor)
}

// TestACookieSaysOnlyWhatItCan: a jar outlives a session, and a cookie of another epoch shows that nothing of this one has arrived.
func TestACookieSaysOnlyWhatItCan(t *testing.T) {
	r := newRig(t, "one", "two")
	text, _ := r.with(nil)
	require.Contains(t, text, "one")
	for cookie, want := range map[api.ReadCookie]string{
		{Session: "other", Epoch: "epoch"}:               "two",
		{Session: "s", Epoch: "epoch", Position: 2}:      "two", // its header has arrived, and the answer was not written to its end
		{Session: "s", Epoch: "epoch", Position: 0}:      "one",
		{Session: "s", Epoch: "an earlier", Position: 9}: "one",
	} {
		r.sessions.cursor = 1
		header := http.Header{"Set-Cookie": {cookie.String()}}
		text, _ = r.with((&http.Response{Header: header}).Cookies())
		require.Contains(t, text, want, "%v", cookie)
	}
}

// TestATimeoutTakesNothingBack: the node has read a cursor from before the answer that the client has.
func TestATimeoutTakesNothingBack(t *testing.T) {
	r := newRig(t)
	shown := api.ReadCookie{Session: "s", Epoch: "epoch", Position: 2}
	header := http.Header{"Set-Cookie": {shown.String()}}
	text, got := r.with((&http.Response{Header: header}).Cookies())
	require.Contains(t, text, "timeout")
	require.Len(t, got, 1)
	require.Equal(t, "s.epoch.2", got[0].Value)
}

func TestTheCookieComesWithTheAnswerOfAPollThatHasWaited(t *testing.T) {
	for _, parks := range []bool{true, false} {
		h := newTestServer(t, parks)
		c := h.caller("bob")
		c.poll(false)
		h.waiting(1)
		h.deliver("bob", "one")
		got := c.answer()
		require.Contains(t, got.body, "one")
		require.Equal(t, api.ReadCookie{Session: "bob", Epoch: "epoch", Position: 1}.String(), got.header.Get("Set-Cookie"))
		h.stop()
	}
}

// TestABarePositionAfterARestoreIsAnsweredWithAReset until the session has begun again in the new log: positions of the old one stand for other
// messages.
func TestABarePositionAfterARestoreIsAnsweredWithAReset(t *testing.T) {
	h := newTestServer(t, false)
	h.deliver("bob", "one")
	h.deliver("bob", "two")
	c := h.caller("bob")
	poll := func(after string) string {
		c.get("/api/messages/poll?wait=0&after=" + after)
		return c.answer().body
	}
	require.Contains(t, poll("1"), "two", "in its first epoch a log has no other positions")
	ends["a reset"](h)
	for range 2 {
		require.JSONEq(t, `{"type":"reset","cursor":"restored.0"}`, poll("1"))
	}
	c.get("/api/messages/stream", "Last-Event-ID: 1")
	c.begun().expect("event: reset\nid: restored.0\n")
	c = h.caller("bob")
	require.Contains(t, poll("restored.1"), "two", "a cursor says of which epoch it is")
	require.JSONEq(t, `{"type":"reset","cursor":"restored.0"}`, poll("1"), "and says nothing of bare positions")
	require.Contains(t, poll("0"), "one")
	require.Contains(t, poll("1"), "two", "from here on they are known to be of this epoch")
	h.api.begun = begunSessions{}
	require.Contains(t, poll("1"), "two", "by another node too")
}

func TestAnAnswerIsAsSmallAsTheClientAsks(t *testing.T) {
	r := newRig(t, "one", "two", "three")
	whole := r.poll("?after=0")
	require.Len(t, whole.Messages, 3)
	for most, messages := range map[int]int{1: 1, 400: 1, 500: 2, 1 << 20: 3} {
		p := r.poll(fmt.Sprintf("?after=0&maxBytes=%d", most))
		require.Len(t, p.Messages, messages, "%d bytes", most)
		require.Equal(t, fmt.Sprintf("epoch.%d", messages), p.Cursor)
	}
}

func TestParametersOfAPollWithoutACursorAreCheckedToo(t *testing.T) {
	r := newRig(t, "one")
	for _, query := range []string{"limit=x", "wait=x", "limit=0", "wait=61"} {
		w := httptest.NewRecorder()
		r.get("poll?"+query, w)
		require.Equal(t, http.StatusBadRequest, w.Code, query)
		require.Contains(t, w.Body.String(), `"field":"`)
	}
	require.Equal(t, "one", r.poll("?limit=5&wait=60").Data.EncryptedContent)
	require.Equal(t, api.PollTimeout, r.poll("?wait=60").Type, "it waits for POLL_WAIT, as ever")
}

// TestAHeadTakesNoMessage and does not wait: monitors use it.
func TestAHeadTakesNoMessage(t *testing.T) {
	h := newTestServer(t, false)
	h.deliver("bob", "one")
	for _, path := range []string{"poll", "stream"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+h.server.Address()+"/api/messages/"+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer bob")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	require.Zero(t, h.library.cursors["bob"].Position)
}

// TestAnEventSourceIsToldWhenToComeBack: every status but 200 would end it for good.
func TestAnEventSourceIsToldWhenToComeBack(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.gateway.Drain(t.Context(), 0))
	for accept, status := range map[string]int{"text/event-stream": http.StatusOK, "*/*": http.StatusServiceUnavailable} {
		req := httptest.NewRequest(http.MethodGet, "/api/messages/stream?after=0", nil)
		req.Header.Set("Authorization", "Bearer x")
		req.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		r.engine.ServeHTTP(w, req)
		require.Equal(t, status, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		if status == http.StatusOK {
			require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
			require.Regexp(t, `^: draining: .*\nretry: [0-9]+000\n\n$`, w.Body.String())
		}
	}
}
