package inbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/inboxtest"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// onePerTurn holds the bulk inserts of large sends, and tells of each whose it is and how large.
type onePerTurn struct {
	store.Log
	begun chan string
	goOn  chan struct{}
	over  chan struct{} // closed when the test ends, however it does
}

func (o *onePerTurn) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	if len(entries) > 100 {
		senders := ""
		for _, e := range entries {
			if e.Kind == store.Sent {
				senders += fmt.Sprint(e.User, " ", len(entries))
			}
		}
		select {
		case o.begun <- senders:
		case <-o.over:
		}
		select {
		case <-o.goOn:
		case <-o.over:
		}
	}
	return o.Log.InsertEntries(ctx, entries)
}

// TestSendersToManyTakeTurns: who sends to many at once delays another's send by one of them, and no bulk insert holds more than one.
func TestSendersToManyTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		o := &onePerTurn{Log: inboxtest.TwoSteps(s), begun: make(chan string), goOn: make(chan struct{}), over: make(chan struct{})}
		w := inbox.NewWriter(inbox.Config{Store: o, Sequencer: memseq.New(2000), WriteTimeout: time.Hour})
		defer w.Stop()
		var sending sync.WaitGroup
		defer sending.Wait()
		defer close(o.over)
		send := func(sender string, recipients int) {
			d := inbox.Draft{Sender: sender, Content: "x", IV: "iv"}
			for i := range recipients {
				d.Recipients = append(d.Recipients, inbox.Recipient{Username: fmt.Sprint("user", i), WrappedKey: "k"})
			}
			sending.Go(func() {
				_, err := w.Append(t.Context(), d)
				require.NoError(t, err)
			})
			synctest.Wait()
		}
		send("warmup", 1024)
		require.Equal(t, "warmup 1025", <-o.begun)
		for range 4 {
			send("eve", 1024)
		}
		send("ann", 1024)
		send("ann", 1024)
		for _, next := range []string{"eve 1025", "ann 1025", "eve 1025", "ann 1025", "eve 1025", "eve 1025"} {
			o.goOn <- struct{}{}
			require.Equal(t, next, <-o.begun)
		}
	})
}
