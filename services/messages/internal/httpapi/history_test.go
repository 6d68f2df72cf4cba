package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
)

// alice is the owner of every token.
type alice struct{}

func (alice) Check(context.Context, string) (token.Identity, error) {
	return token.Identity{Username: "Alice", Subject: "alice", SessionID: "s", ExpiresAt: time.Now().Add(time.Hour)}, nil
}

// asked counts the store's calls for receipts, and can make them fail.
type asked struct {
	store.Log
	calls, pairs int
	failFrom     int
}

func (a *asked) Receipts(ctx context.Context, places []store.Place) (map[store.Place]time.Time, error) {
	a.calls++
	a.pairs += len(places)
	if a.failFrom > 0 && a.calls >= a.failFrom {
		return nil, fmt.Errorf("%w: for the test", store.ErrUnavailable)
	}
	return a.Log.Receipts(ctx, places)
}

// rig is a messages service with an inbox.
type rig struct {
	t      *testing.T
	log    *asked
	writer *inbox.Writer
	reader *inbox.Reader
	engine *gin.Engine
}

func newRig(t *testing.T) *rig {
	s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	log := &asked{Log: s}
	cfg := inbox.Config{Store: log, Sequencer: memseq.New(100)}
	r := &rig{t: t, log: log, writer: inbox.NewWriter(cfg), reader: inbox.NewReader(cfg), engine: gin.New()}
	t.Cleanup(r.writer.Stop)
	a := &API{Inbox: r.reader, Tokens: alice{}, SendLimit: ratelimit.Off{}, ReadLimit: ratelimit.Off{}, MaxBodyBytes: 1 << 20, Sending: admission.New(httpserver.BodyBound(1<<24, 1<<20)), Pages: admission.New(httpserver.RequestBound(8))}
	a.Routes(r.engine)
	return r
}

func (r *rig) send(sender, content string, to ...string) store.MessageID {
	d := inbox.Draft{Sender: sender, Content: content, IV: "iv"}
	for _, name := range to {
		d.Recipients = append(d.Recipients, inbox.Recipient{Username: name, WrappedKey: "key"})
	}
	receipt, err := r.writer.Append(context.Background(), d)
	require.NoError(r.t, err)
	return receipt.Message.ID
}

func (r *rig) page(query string) (*httptest.ResponseRecorder, api.HistoryResponse) {
	w := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, "/api/messages/history"+query, nil)
	request.Header.Set("Authorization", "Bearer x")
	r.engine.ServeHTTP(w, request)
	var page api.HistoryResponse
	if w.Code == http.StatusOK {
		require.NoError(r.t, json.Unmarshal(w.Body.Bytes(), &page))
	}
	return w, page
}

func TestAPageOfOwnMessagesAsksForTheReceiptsOfAllOnce(t *testing.T) {
	r := newRig(t)
	const sent = 200
	for i := range sent {
		id := r.send("Alice", fmt.Sprint("m", i), "Bob", "Carol")
		if i%2 == 0 {
			require.NoError(t, r.reader.MarkRead(t.Context(), "bob", id))
		}
	}
	r.send("Bob", "received", "Alice")
	_, page := r.page("?limit=200")
	require.Len(t, page.Messages, 200)
	require.Equal(t, "received", page.Messages[0].EncryptedContent)
	require.Nil(t, page.Messages[0].ReadBy)
	for i, m := range page.Messages[1:] {
		require.Equal(t, fmt.Sprint("m", sent-1-i), m.EncryptedContent)
		readers := []string{}
		for _, by := range *m.ReadBy {
			readers = append(readers, by.Username)
		}
		require.Equal(t, (sent-1-i)%2 == 0, len(readers) == 1, "%v", readers)
	}
	require.Equal(t, 1, r.log.calls)
	require.Equal(t, 2*(200-1), r.log.pairs)
}

func TestAPageOfLargeMessagesIsNotHeldWhole(t *testing.T) {
	r := newRig(t)
	const sent, size = 8, gatherBytes / 2
	for range sent {
		r.send("Alice", strings.Repeat("x", size), "Bob")
	}
	_, page := r.page("")
	require.Len(t, page.Messages, sent)
	require.Equal(t, sent/2, r.log.calls)
}

func TestAPageOfReceivedMessagesAsksForNoReceipts(t *testing.T) {
	r := newRig(t)
	r.send("Bob", "received", "Alice")
	_, page := r.page("")
	require.Len(t, page.Messages, 1)
	require.Zero(t, r.log.calls)
}

// TestAPageThatFailsIsAnsweredOrCutOff: half a page must not look like a whole one.
func TestAPageThatFailsIsAnsweredOrCutOff(t *testing.T) {
	r := newRig(t)
	for range 8 {
		r.send("Alice", strings.Repeat("x", gatherBytes), "Bob")
	}
	r.log.failFrom = 1
	w, _ := r.page("")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	r.log.calls, r.log.failFrom = 0, 3
	require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { r.page("") })
}

func TestGatheredKeepsItemsInOrderAndEndsAtAnError(t *testing.T) {
	boom := errors.New("boom")
	items := func(yield func(inbox.Item, error) bool) {
		for i := range 5 {
			if !yield(inbox.Item{Entry: store.Entry{Position: int64(i)}, Message: store.Message{Recipients: make([]string, gatherRecipients/2)}}, nil) {
				return
			}
		}
		yield(inbox.Item{}, boom)
	}
	var seen []int64
	var failed error
	for list, err := range gathered(items) {
		failed = err
		require.LessOrEqual(t, len(list), 2)
		for _, item := range list {
			seen = append(seen, item.Entry.Position)
		}
	}
	require.Equal(t, []int64{0, 1, 2, 3}, seen)
	require.ErrorIs(t, failed, boom)
	for _, err := range gathered(items) {
		require.NoError(t, err)
		break // the iteration ends when its reader stops
	}
}
