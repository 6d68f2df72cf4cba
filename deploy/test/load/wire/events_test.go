package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stream serves text as a stream of events, and ends it or leaves it open: the client does not know which will happen.
func stream(t *testing.T, text string, open bool) *Conn {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		if open {
			<-r.Context().Done()
		}
	})
	return NewConn(s, "")
}

func TestEventsOfAStreamAreHandedOver(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	c := stream(t, ": heartbeat\n\nid: 1\ndata: {\"a\": 1}\n\nevent: skipped\nid: 3\ndata: "+long+"\n\n: heartbeat\n\nid: 4\ndata: half", false)
	var got []string
	a, err := c.Listen(t.Context(), Request{Method: http.MethodGet, Path: "/", Timeout: time.Minute}, func(e Event) error {
		got = append(got, fmt.Sprint(e.Name, "|", e.ID, "|", string(e.Data)))
		return nil
	})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, []string{`|1|{"a": 1}`, "skipped|3|" + long}, got, "what has no end is no event")
}

func TestAStreamEndsWithItsListener(t *testing.T) {
	c := stream(t, "id: 1\ndata: x\n\n", true)
	request := Request{Method: http.MethodGet, Path: "/", Timeout: time.Minute}
	enough := errors.New("enough")
	_, err := c.Listen(t.Context(), request, func(Event) error { return enough })
	require.ErrorIs(t, err, enough)
	_, err = c.Listen(t.Context(), request, func(Event) error { c.Break(); return nil })
	require.ErrorIs(t, err, ErrBroken)
	c.Mend()
	request.Timeout = 50 * time.Millisecond
	_, err = c.Listen(t.Context(), request, func(Event) error { return nil })
	require.ErrorContains(t, err, "timeout", "nothing comes any more")
}

func TestWhatIsNoStreamIsAnAnswer(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "full")
	})
	c := NewConn(s, "")
	defer c.Close()
	a, err := c.Listen(t.Context(), Request{Method: http.MethodGet, Path: "/", Timeout: time.Minute}, nil)
	require.NoError(t, err)
	require.Equal(t, Answer{Status: http.StatusServiceUnavailable, Body: []byte("full"), RetryAfter: 7 * time.Second}, a)
}
