package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// stuck is a client that does not read its answer until told to.
type stuck struct {
	*httptest.ResponseRecorder
	writing, goOn chan struct{}
	once          sync.Once
}

func (s *stuck) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.writing) })
	<-s.goOn
	return s.ResponseRecorder.Write(b)
}

// TestWhatSlowClientsLeaveUnreadHasABound: above the limit polls and streams are refused, and no message is lost by that.
func TestWhatSlowClientsLeaveUnreadHasABound(t *testing.T) {
	r := newRig(t, strings.Repeat("a", 700<<10)) // the limit is 1 MiB
	slow := &stuck{ResponseRecorder: httptest.NewRecorder(), writing: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.get("poll?after=0&wait=0", slow)
	}()
	<-slow.writing
	for _, path := range []string{"poll?after=0&wait=0", "poll"} {
		w := httptest.NewRecorder()
		r.get(path, w)
		require.Equal(t, http.StatusServiceUnavailable, w.Code, path)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		var e api.Error
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &e))
		require.Equal(t, api.CodeAtCapacity, e.Code)
	}
	reads := r.shelf.reads
	again := httptest.NewRecorder()
	r.get("poll?after=0&wait=0", again)
	require.Equal(t, http.StatusServiceUnavailable, again.Code)
	require.Equal(t, reads, r.shelf.reads, "what was refused is not read again at once")
	stream := httptest.NewRecorder()
	r.get("stream?after=0", stream)
	require.NotContains(t, stream.Body.String(), "data:", "it ends, and is begun again where it was")
	close(slow.goOn)
	<-done
	w := httptest.NewRecorder()
	r.get("poll?after=0&wait=0", w)
	require.Equal(t, http.StatusOK, w.Code)
}

func TestAnAnswerThatIsLargerThanTheBoundGetsThroughAlone(t *testing.T) {
	u := NewUnread(admission.New(httpserver.AnswerBound(10)))
	huge := gateway.Answer{Objects: []gateway.Object{{JSON: delivery.JSON{Own: make([]byte, 11)}}}}
	held, err := u.take(admission.Holder{User: "eve"}, u.sizeOf(huge))
	require.NoError(t, err)
	_, err = u.take(admission.Holder{User: "bob"}, 1)
	require.ErrorIs(t, err, errUnread)
	held.Release()
	held, err = u.take(admission.Holder{User: "eve"}, u.sizeOf(huge))
	require.NoError(t, err)
	held.Release()
}

func TestOneUserDoesNotLeaveUnreadWhatAllMay(t *testing.T) {
	u := NewUnread(admission.New(httpserver.AnswerBound(80)))
	_, err := u.take(admission.Holder{User: "eve"}, 9)
	require.NoError(t, err)
	_, err = u.take(admission.Holder{User: "eve"}, 9)
	require.ErrorIs(t, err, errUnread)
	_, err = u.take(admission.Holder{User: "bob"}, 9)
	require.NoError(t, err)
}
