package redislog_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/redislog"
)

// masters are two servers that both take themselves for the master. Reads go to one of them.
type masters struct {
	redislog.Engine
	mu   sync.Mutex
	page redislog.Page
}

func (m *masters) turnTo(replication string, records ...redis.XMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.page = redislog.Page{Records: records, Added: int64(len(records)), Replication: replication}
}

// after returns the records after an id of the form "1-0".
func (m *masters) after(id string) redislog.Page {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.page
	p.Records = nil
	for _, r := range m.page.Records {
		if r.ID > id {
			p.Records = append(p.Records, r)
		}
	}
	return p
}

func (m *masters) Page(_ context.Context, after string, _ int64) (redislog.Page, error) {
	return m.after(after), nil
}

func (m *masters) Await(_ context.Context, after string, _ int64, _ time.Duration) ([]redis.XMessage, error) {
	return m.after(after).Records, nil
}

func message(id, token string) redis.XMessage {
	return redis.XMessage{ID: id, Values: map[string]any{
		"token": token, "subject": "ann", "generation": "0", "expires": "32503680000000",
	}}
}

// TestARecordOfAnotherMasterIsNotTakenForReadBefore: after a split of Redis a follower comes to a server that has as many records as it has
// read, but others, one of them under the id that was read last.
func TestARecordOfAnotherMasterIsNotTakenForReadBefore(t *testing.T) {
	servers := &masters{}
	servers.turnTo("a", message("5-0", "first"))
	current, ended := follow(t, redislog.NewOn(servers))
	<-current
	servers.turnTo("b", message("5-0", "second"), message("5-1", "first"))
	more := true
	for range 5 { // it may have begun to read before
		if _, more = <-current; !more {
			break
		}
	}
	require.False(t, more, "it goes on as if it had read all of the other server's records")
	require.ErrorIs(t, <-ended, revocation.ErrUnavailable)
}
