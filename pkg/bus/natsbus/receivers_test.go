package natsbus

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// TestReceiversThatAreGoneCountNoMore, and the number remembered is limited.
func TestReceiversThatAreGoneCountNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receivers{last: map[string]time.Time{}}
		hear := func(id string) { r.hear(&nats.Msg{Subject: herePrefix + id}) }
		hear("one")
		hear("two")
		hear("one")
		require.Equal(t, 2, r.count())
		<-time.After(forgetAfter)
		hear("two")
		<-time.After(presentEvery)
		require.Equal(t, 1, r.count())
		for i := range 2 * maxReceivers {
			hear(fmt.Sprint(i))
		}
		require.Equal(t, maxReceivers, r.count())
	})
}
