// Package redislog is the revocation log of a cluster: a Redis stream that every node follows.
package redislog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/token"
)

const (
	stream = "sealpost:revocations"
	// page is how many records are read at a time.
	page = 1000
	// beat is how long a follower waits for a new record before it checks that it has missed none.
	beat = time.Second
	// appendTimeout limits one append.
	appendTimeout = 3 * time.Second
	// trimMargin is how much longer than any token a record is kept, for clocks that differ.
	trimMargin = time.Hour
)

// errWentBack means that the stream does not continue what was read: it was emptied, or Redis went back to an older copy. It must be read
// from the beginning.
var errWentBack = errors.New("the revocation stream has gone back")

// Log implements revocation.Log. Redis must keep what it has acknowledged (appendonly yes). If it loses a record all the same, the nodes
// that know the record append it again (see revocation.Mirror).
type Log struct{ engine Engine }

// New makes a Log.
func New(client redis.UniversalClient) *Log { return NewOn(engine{client}) }

// NewOn makes a Log on an Engine other than Redis.
func NewOn(e Engine) *Log { return &Log{e} }

// Engine is the stream that a Log needs of Redis.
type Engine interface {
	// Add appends a record, given as alternating fields and values, and may remove records from before oldest.
	Add(ctx context.Context, oldest time.Time, values []any) error
	// Page returns up to limit records after an id, in order, and how many were ever added, both as of the same moment.
	Page(ctx context.Context, after string, limit int64) (records []redis.XMessage, added int64, err error)
	// Await returns up to limit records after an id as soon as there are any, and none if none comes within while.
	Await(ctx context.Context, after string, limit int64, while time.Duration) ([]redis.XMessage, error)
}

// engine is an Engine on Redis.
type engine struct{ redis redis.UniversalClient }

// Add implements Engine.
func (e engine) Add(ctx context.Context, oldest time.Time, values []any) error {
	return e.redis.XAdd(ctx, &redis.XAddArgs{Stream: stream, MinID: strconv.FormatInt(oldest.UnixMilli(), 10), Approx: true, Values: values}).Err()
}

// Page implements Engine, with one transaction.
func (e engine) Page(ctx context.Context, after string, limit int64) (records []redis.XMessage, added int64, err error) {
	var read *redis.XMessageSliceCmd
	var info *redis.XInfoStreamCmd
	_, _ = e.redis.TxPipelined(ctx, func(p redis.Pipeliner) error { // each command returns its error
		read = p.XRangeN(ctx, stream, "("+after, "+", limit)
		info = p.XInfoStream(ctx, stream)
		return nil
	})
	if records, err = read.Result(); err != nil {
		return nil, 0, err
	}
	switch err := info.Err(); {
	case err == nil:
		added = info.Val().EntriesAdded
	case !redis.HasErrorPrefix(err, "no such key"): // a missing stream has no records
		return nil, 0, err
	}
	return records, added, nil
}

// Await implements Engine.
func (e engine) Await(ctx context.Context, after string, limit int64, while time.Duration) (records []redis.XMessage, err error) {
	streams, err := e.redis.XRead(ctx, &redis.XReadArgs{Streams: []string{stream, after}, Count: limit, Block: while}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	for _, s := range streams {
		records = append(records, s.Messages...)
	}
	return records, err
}

// Append implements revocation.Log. The stream is trimmed to the lifetime of tokens.
func (l *Log) Append(ctx context.Context, r revocation.Record) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	oldest := time.Now().Add(-token.MaxLifetime - trimMargin)
	err := l.engine.Add(ctx, oldest, []any{
		"token", r.TokenID, "subject", r.Subject, "generation", r.MinGeneration, "expires", r.ExpiresAt.UnixMilli(),
	})
	return unavailable(err)
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
}

// Follow implements revocation.Log.
func (l *Log) Follow(ctx context.Context, apply func(revocation.Record), current func()) error {
	f := follower{log: l, apply: apply, last: "0-0"}
	for {
		done, err := f.catchUp(ctx)
		if err == nil && done {
			current()
			err = f.await(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return unavailable(err)
		}
	}
}

// follower is the state of one Follow.
type follower struct {
	log   *Log
	apply func(revocation.Record)
	// last is the id of the last record read.
	last string
	// added is how many records had ever been added to the stream when all of them had been read: valid once settled is true.
	// Every record read since must account for one more, exactly: else the stream has gone back.
	added   int64
	settled bool
}

// catchUp reads the next page and, as of the same moment, how many records were ever added. done means that nothing follows the page.
func (f *follower) catchUp(ctx context.Context) (done bool, err error) {
	records, total, err := f.log.engine.Page(ctx, f.last, page)
	if err != nil {
		return false, err
	}
	if err := f.take(records); err != nil {
		return false, err
	}
	if len(records) == page {
		return false, nil
	}
	if f.settled && total != f.added {
		return false, errWentBack
	}
	f.added, f.settled = total, true
	return true, nil
}

// take applies records and counts them.
func (f *follower) take(records []redis.XMessage) error {
	for _, m := range records {
		r, err := parse(m)
		if err != nil {
			return err
		}
		if r.ExpiresAt.After(time.Now()) {
			f.apply(r)
		}
		f.last = m.ID
		f.added++
	}
	return nil
}

// await waits for new records, for at most a beat.
func (f *follower) await(ctx context.Context) error {
	records, err := f.log.engine.Await(ctx, f.last, page, beat)
	if err != nil {
		return err
	}
	return f.take(records)
}

func parse(m redis.XMessage) (revocation.Record, error) {
	text := func(name string) string { s, _ := m.Values[name].(string); return s }
	generation, err := strconv.ParseInt(text("generation"), 10, 64)
	if err != nil {
		return revocation.Record{}, fmt.Errorf("record %s: generation: %w", m.ID, err)
	}
	expires, err := strconv.ParseInt(text("expires"), 10, 64)
	if err != nil {
		return revocation.Record{}, fmt.Errorf("record %s: expires: %w", m.ID, err)
	}
	return revocation.Record{
		TokenID: text("token"), Subject: text("subject"), MinGeneration: generation, ExpiresAt: time.UnixMilli(expires).UTC(),
	}, nil
}
