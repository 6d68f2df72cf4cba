package simulation

import (
	"cmp"
	"context"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sealpost/sealpost/pkg/revocation/redislog"
)

// streamID is the id of a record in a stream.
type streamID struct{ ms, seq int64 }

func (id streamID) String() string { return fmt.Sprintf("%d-%d", id.ms, id.seq) }

func (id streamID) compare(other streamID) int {
	return cmp.Or(cmp.Compare(id.ms, other.ms), cmp.Compare(id.seq, other.seq))
}

// record is one revocation in a Redis server.
type record struct {
	id     streamID
	values map[string]any
}

// stream is a server's stream of revocations. Records never change, so states share them.
type stream struct {
	records []record
	// added is the number of records ever added, last the id of the last one.
	added int64
	last  streamID
}

// streamState is the state of a stream from a time on.
type streamState struct {
	when time.Time
	stream
}

// turn replaces the stream.
func (s *server) turn(now time.Time, to stream) {
	s.revocations = to
	s.streams = append(s.streams, streamState{now, to})
}

// add appends a record.
func (s *server) add(now time.Time, values []any) {
	fields := map[string]any{}
	for i := 0; i+1 < len(values); i += 2 {
		fields[fmt.Sprint(values[i])] = fmt.Sprint(values[i+1])
	}
	to := s.revocations
	id := streamID{ms: now.UnixMilli()}
	if id.compare(to.last) <= 0 {
		id = streamID{to.last.ms, to.last.seq + 1}
	}
	to.last, to.added = id, to.added+1
	to.records = append(to.records[:len(to.records):len(to.records)], record{id, fields})
	s.turn(now, to)
}

// after lists up to limit records after an id.
func (s *stream) after(text string, limit int64) (list []goredis.XMessage) {
	var id streamID
	if _, err := fmt.Sscanf(text, "%d-%d", &id.ms, &id.seq); err != nil {
		panic(err) // no stream ever gave out such an id
	}
	for _, r := range s.records {
		if r.id.compare(id) > 0 && int64(len(list)) < limit {
			list = append(list, goredis.XMessage{ID: r.id.String(), Values: r.values})
		}
	}
	return list
}

// A process's Redis client is also the engine of its revocation log.
var _ redislog.Engine = (*counters)(nil)

// Add implements redislog.Engine.
func (c *counters) Add(ctx context.Context, _ time.Time, values []any) error {
	return c.do(ctx, "Add", fmt.Sprint(values...), func(s *server) { s.add(time.Now(), values) })
}

// Page implements redislog.Engine.
func (c *counters) Page(ctx context.Context, after string, limit int64) (p redislog.Page, err error) {
	err = c.do(ctx, "Page", after, func(s *server) {
		p = redislog.Page{Records: s.revocations.after(after, limit), Added: s.revocations.added, Replication: fmt.Sprint(s.id)}
	})
	return p, err
}

// Await implements redislog.Engine. New records are seen only after a part of the time, as if others had been served first.
func (c *counters) Await(ctx context.Context, after string, limit int64, while time.Duration) (records []goredis.XMessage, err error) {
	if err := c.await(ctx, c.rng("Awaiting", after).between(while/4, while)); err != nil {
		return nil, err
	}
	err = c.do(ctx, "Await", after, func(s *server) { records = s.revocations.after(after, limit) })
	return records, err
}
