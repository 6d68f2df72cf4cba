package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/pkg/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// liar is a server that accepts everything, and corrupts the inboxes of others as a test says.
type liar struct {
	// put adds a message to an inbox.
	put func(inbox []api.Message, m api.Message) []api.Message
	// status is the answer to sends; 201 if it is 0.
	status int

	mu      sync.Mutex
	inboxes map[string][]api.Message
	sends   int
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch r.URL.Path {
	case "/api/auth/register":
		var in api.RegisterRequest
		_ = json.NewDecoder(r.Body).Decode(&in)
		answerJSON(w, http.StatusCreated, api.SessionResponse{Token: in.Username})
	case "/api/messages/send":
		l.send(w, r, user)
	case "/api/messages/poll":
		l.poll(w, r, user)
	case "/api/messages/stream":
		l.stream(w, r, user)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (l *liar) send(w http.ResponseWriter, r *http.Request, from string) {
	var in api.SendRequest
	_ = json.NewDecoder(r.Body).Decode(&in)
	l.sends++
	for name := range in.RecipientKeys {
		m := api.Message{Sender: from, EncryptedContent: in.EncryptedContent, Seq: int64(len(l.inboxes[name]) + 1)}
		l.inboxes[name] = l.put(l.inboxes[name], m)
	}
	if l.status == 0 {
		l.status = http.StatusCreated
	}
	answerJSON(w, l.status, api.SendResponse{})
}

func (l *liar) poll(w http.ResponseWriter, r *http.Request, user string) {
	inbox := l.inboxes[user]
	out := api.PollResponse{Type: api.PollTimeout, Cursor: fmt.Sprint("e.", len(inbox))}
	if after := r.URL.Query().Get("after"); after != "latest" {
		n, _ := strconv.Atoi(strings.TrimPrefix(after, "e."))
		if out.Messages = inbox[n:]; len(out.Messages) > 0 {
			out.Type = api.PollMessages
		}
	}
	answerJSON(w, http.StatusOK, out)
}

// stream sends what is there and ends, as a draining server does.
func (l *liar) stream(w http.ResponseWriter, r *http.Request, user string) {
	w.Header().Set("Content-Type", "text/event-stream")
	n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Query().Get("after"), "e."))
	for i, m := range l.inboxes[user][n:] {
		text, _ := json.Marshal(m)
		_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n+i+1, text)
	}
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func TestAServerThatBreaksItsPromiseIsFoundOut(t *testing.T) {
	honest := func(inbox []api.Message, m api.Message) []api.Message { return append(inbox, m) }
	cases := []struct {
		name   string
		put    func(inbox []api.Message, m api.Message) []api.Message
		status int
		found  string
	}{
		{"an honest server", honest, 0, ""},
		{"one that loses", func(inbox []api.Message, m api.Message) []api.Message {
			if len(inbox) == 3 {
				m.EncryptedContent = "lost"
			}
			return append(inbox, m)
		}, 0, "1 missing"},
		{"one that repeats", func(inbox []api.Message, m api.Message) []api.Message {
			if inbox = append(inbox, m); m.Seq == 1 {
				m.Seq++
				inbox = append(inbox, m)
			}
			return inbox
		}, 0, "1 repeated"},
		{"one that gives a position twice", func(inbox []api.Message, m api.Message) []api.Message {
			m.Seq = min(m.Seq, 4)
			return append(inbox, m)
		}, 0, "out of order"},
		{"one that refuses and delivers", honest, http.StatusBadRequest, "not asked for"},
		{"one that fails and delivers", honest, http.StatusInternalServerError, ""},
	}
	for i := range 2 * len(cases) {
		test, streams := cases[i/2], i%2 == 1
		t.Run(test.name+" to "+readingBy(streams), func(t *testing.T) {
			server := httptest.NewServer(&liar{put: test.put, status: test.status, inboxes: map[string][]api.Message{}})
			defer server.Close()
			d := Deliver{
				Target: Target{Servers: []string{server.URL}, Password: "p"}, Users: 2, FanOut: "1", Streams: streams, Size: 50, Concurrency: 4,
				Rate: 100, Duration: 100 * time.Millisecond, Patience: 500 * time.Millisecond,
			}
			r, err := d.Run(t.Context(), "pairs")
			require.NoError(t, err)
			require.EqualValues(t, 10, r.Check.Sends)
			require.Equal(t, test.found == "", r.Passed(), r.Check)
			if test.found != "" {
				require.Regexp(t, `[1-9]\d* `+strings.TrimPrefix(test.found, "1 "), r.Check.String())
			}
		})
	}
}

func TestACountOfRecipientsIsReadAndBounded(t *testing.T) {
	for text, want := range map[string]int{"all": 5, "1": 1, "5": 5} {
		n, err := fanOut(text, 5)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	for _, bad := range []string{"", "0", "6", "-1", "some"} {
		_, err := fanOut(bad, 5)
		require.Error(t, err, bad)
	}
}

func TestALetterIsOfTheLengthThatWasAskedForAndGoesToOthersFirst(t *testing.T) {
	list, err := letters([]user{{name: "a"}, {name: "b"}, {name: "c"}}, 2, 101)
	require.NoError(t, err)
	require.Equal(t, []int{0, 1}, list[2].to)
	var body bytes.Buffer
	list[2].body(&body, check.Stamp{Run: 1, N: 2, At: 3})
	var sent api.SendRequest
	require.NoError(t, json.Unmarshal(body.Bytes(), &sent))
	require.Len(t, sent.EncryptedContent, 101)
	stamp, ok := check.ParseStamp(sent.EncryptedContent)
	require.True(t, ok)
	require.Equal(t, check.Stamp{Run: 1, N: 2, At: 3}, stamp)
	require.Equal(t, []string{"a", "b"}, slices.Sorted(maps.Keys(sent.RecipientKeys)))
	require.Equal(t, "00000001.00000002", sent.ClientMessageID)
}
