// Package redislog is the revocation log of a cluster: a Redis stream that every node follows.
package redislog

import (
	"context"
	_ "embed"
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

// errOtherServer means that another server, or the same one as another master's heir, answers. It may have lost records and have others in
// their places. The stream must be read from the beginning.
var errOtherServer = errors.New("the revocation stream is another server's")

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
	// Page returns up to limit records after an id.
	Page(ctx context.Context, after string, limit int64) (Page, error)
	// Await returns up to limit records after an id as soon as there are any, and none if none comes within while.
	Await(ctx context.Context, after string, limit int64, while time.Duration) ([]redis.XMessage, error)
}

// Page is a part of the stream, as of one moment.
type Page struct {
	// Records are in the order of their ids.
	Records []redis.XMessage
	// Added is how many records were ever added to the stream.
	Added int64
	// Replication identifies the history of the server's data: a replica has its master's until it is promoted.
	Replication string
}

// engine is an Engine on Redis.
type engine struct{ redis redis.UniversalClient }

// Add implements Engine.
func (e engine) Add(ctx context.Context, oldest time.Time, values []any) error {
	return e.redis.XAdd(ctx, &redis.XAddArgs{Stream: stream, MinID: strconv.FormatInt(oldest.UnixMilli(), 10), Approx: true, Values: values}).Err()
}

//go:embed page.lua
var pageText string

var pageScript = redis.NewScript(pageText)

var errAnswer = errors.New("unexpected answer of the Redis script")

// Page implements Engine.
func (e engine) Page(ctx context.Context, after string, limit int64) (Page, error) {
	answer, err := pageScript.Run(ctx, e.redis, []string{stream}, after, limit).Slice()
	if err != nil {
		return Page{}, err
	}
	if len(answer) != 3 {
		return Page{}, errAnswer
	}
	replication, isID := answer[0].(string)
	added, isNumber := answer[1].(int64)
	list, isList := answer[2].([]any)
	if !isID || !isNumber || !isList {
		return Page{}, errAnswer
	}
	p := Page{Replication: replication, Added: added}
	for _, entry := range list {
		record, err := recordOf(entry)
		if err != nil {
			return Page{}, err
		}
		p.Records = append(p.Records, record)
	}
	return p, nil
}

// recordOf reads an entry of a stream as a script returns it: the id, and a list of fields and values.
func recordOf(entry any) (redis.XMessage, error) {
	pair, _ := entry.([]any)
	if len(pair) != 2 {
		return redis.XMessage{}, errAnswer
	}
	id, isID := pair[0].(string)
	fields, isList := pair[1].([]any)
	if !isID || !isList || len(fields)%2 != 0 {
		return redis.XMessage{}, errAnswer
	}
	m := redis.XMessage{ID: id, Values: make(map[string]any, len(fields)/2)}
	for i := 0; i < len(fields); i += 2 {
		name, isName := fields[i].(string)
		if !isName {
			return redis.XMessage{}, errAnswer
		}
		m.Values[name] = fields[i+1]
	}
	return m, nil
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
	// replication is where the pages come from; empty before the first. Two masters, of which one is cut off, may have different records
	// under the same ids, and as many of them.
	replication string
	// added is how many records had ever been added to the stream when all of them had been read: valid once complete is true.
	// Every record read since must account for one more, exactly: else the stream has gone back.
	added    int64
	complete bool
}

// catchUp reads the next page. done means that nothing follows it.
func (f *follower) catchUp(ctx context.Context) (done bool, err error) {
	p, err := f.log.engine.Page(ctx, f.last, page)
	if err != nil {
		return false, err
	}
	if f.replication != "" && p.Replication != f.replication {
		return false, errOtherServer
	}
	f.replication = p.Replication
	if err := f.take(p.Records); err != nil {
		return false, err
	}
	if len(p.Records) == page {
		return false, nil
	}
	if f.complete && p.Added != f.added {
		return false, errWentBack
	}
	f.added, f.complete = p.Added, true
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
