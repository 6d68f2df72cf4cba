package parking

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEverythingAtTheSameInstant makes clients leave, deadlines pass, answers come and the Lot drain and stop at once. A client that
// stays gets a whole answer or the end of its connection, and no handler is left.
func TestEverythingAtTheSameInstant(t *testing.T) {
	const crowd, rounds = 100, 20
	before := descriptors(t)
	for range rounds {
		everythingAtOnce(t, crowd)
	}
	require.Eventually(t, func() bool { return descriptors(t) <= before+4 }, patience, time.Millisecond) // up to 4 are the runtime's
}

func everythingAtOnce(t *testing.T, crowd int) {
	i := newInn(t, quick())
	clients, handlers := make([]*client, crowd), make([]*visitor, crowd)
	for n := range clients {
		clients[n] = i.dial()
		clients[n].send("/park?wait=" + (200 * time.Millisecond).String())
		handlers[n] = <-i.arrived
	}
	var contest sync.WaitGroup
	start := make(chan struct{})
	during := func(f func()) {
		delay := time.NewTimer(rand.N(250 * time.Millisecond))
		contest.Go(func() {
			<-start
			<-delay.C
			f()
		})
	}
	for n := range clients {
		if n%3 == 0 {
			during(func() { _ = clients[n].Close() })
		} else {
			contest.Go(func() { require.NoError(t, clients[n].whole()) })
		}
		during(func() { handlers[n].answer("answered") })
		during(handlers[n].Gone)
	}
	during(func() { _ = i.lot.Drain(context.Background()) })
	during(i.lot.Stop)
	close(start)
	contest.Wait()
	i.settled()
	for _, c := range clients {
		_ = c.Close()
	}
	require.NoError(t, i.server.Close())
}

// whole reads until the connection ends, and fails if an answer is cut short.
func (c *client) whole() error {
	for {
		if _, err := c.in.Peek(1); err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				return err
			}
			return nil
		}
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return err
		}
		_, err = io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			return err
		}
	}
}
