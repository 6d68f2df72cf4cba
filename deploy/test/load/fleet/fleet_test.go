package fleet

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/deploy/test/load/check"
)

// workerVariable makes the test binary a worker.
const workerVariable = "SEALPOST_FLEET_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := Work(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// post is a server whose polls wait, or are refused.
type post struct {
	*httptest.Server
	open, refusals atomic.Int64
	message        chan struct{}
}

func newPost(t *testing.T) *post {
	p := &post{message: make(chan struct{})}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.refusals.Add(-1) >= 0 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		p.open.Add(1)
		defer p.open.Add(-1)
		if r.URL.Path == "/api/messages/stream" {
			p.stream(w, r)
			return
		}
		if r.URL.Query().Get("after") == "e.1" {
			<-r.Context().Done()
			return
		}
		select {
		case <-p.message:
			_, _ = fmt.Fprintf(w, `{"type":"messages","messages":[%s],"cursor":"e.1"}`, message())
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func message() string {
	return fmt.Sprintf(`{"seq":1,"encryptedContent":"%s"}`, check.Stamp{Run: 5, N: 3, At: 1}.Append(nil))
}

// stream sends the message and nothing else.
func (p *post) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-p.message:
		_, _ = fmt.Fprintf(w, "id: 1\ndata: %s\n\n", message())
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case <-r.Context().Done():
	}
}

func TestPollsAreParkedDroppedAndParkedAgain(t *testing.T) { parkedDroppedAndParkedAgain(t, false) }

func TestStreamsAreParkedDroppedAndParkedAgain(t *testing.T) { parkedDroppedAndParkedAgain(t, true) }

func parkedDroppedAndParkedAgain(t *testing.T, streams bool) {
	t.Helper()
	t.Setenv(workerVariable, "1")
	server := newPost(t)
	const polls = 20
	statuses, arrivals, arrived := map[string]int64{}, map[int]Arrival{}, atomic.Int64{}
	f, err := Start(t.Context(), Options{
		Command: []string{os.Args[0]}, Processes: 3, Errors: os.Stderr,
		Job: Job{
			Servers: []string{server.URL}, Sources: []string{"127.0.0.1", "127.0.0.2"}, Users: []User{{"a", "e.0"}, {"b", "e.0"}},
			Polls: polls, Streams: streams, Wait: time.Minute, Ramp: 10 * time.Millisecond,
		},
		Counted: func(status string, n int64) { statuses[status] += n },
		Took: func(a Arrival) {
			arrivals[a.Poll] = a
			arrived.Add(1)
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	allParked := func(drops int64) func(State) bool {
		return func(s State) bool { return s.Dropped == drops && s.Parked == polls && server.open.Load() == polls }
	}
	require.NoError(t, f.Until(ctx, allParked(0)))

	server.refusals.Store(7)
	began := time.Now()
	require.NoError(t, f.Storm(50*time.Millisecond))
	require.NoError(t, f.Until(ctx, allParked(polls)))
	require.True(t, f.State().Last.After(began))

	close(server.message)
	require.NoError(t, f.Until(ctx, func(State) bool { return arrived.Load() == polls }))
	require.NoError(t, f.Close())
	if streams {
		require.Equal(t, map[string]int64{"stream 503": 7}, statuses)
	} else {
		require.Equal(t, map[string]int64{"poll 503": 7, "poll 200": polls}, statuses)
	}
	require.Equal(t, []check.Message{{Position: 1, Stamp: check.Stamp{Run: 5, N: 3, At: 1}}}, arrivals[polls-1].Messages)
}

func TestAWorkerThatCannotWorkIsNoticed(t *testing.T) {
	f, err := Start(t.Context(), Options{Command: []string{"false"}, Processes: 1, Job: Job{Polls: 1}})
	if err == nil {
		require.ErrorIs(t, f.Until(t.Context(), func(s State) bool { return s.Parked > 0 }), ErrWorkerEnded)
	}
	if f != nil {
		require.Error(t, f.Close())
	}
	require.Error(t, Work(t.Context(), bytes.NewBufferString("{}"), nil))
	require.Error(t, Work(t.Context(), bytes.NewBufferString("nonsense"), nil))
}
