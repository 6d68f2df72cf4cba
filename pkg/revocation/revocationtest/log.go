package revocationtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/revocation"
)

// heartbeat is how often an idle follower is told that it misses nothing.
const heartbeat = time.Second

// Log is a revocation log in memory, for tests: nothing of it is durable. It can be taken away. The zero value is an
// empty log.
type Log struct {
	mu      sync.Mutex
	records []revocation.Record
	away    bool
	// changed is closed when there is a record more, or the log was taken away.
	changed chan struct{}
}

// Append implements revocation.Log.
func (l *Log) Append(ctx context.Context, r revocation.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
	}
	if l.away {
		return fmt.Errorf("%w: taken away", revocation.ErrUnavailable)
	}
	l.records = append(l.records, r)
	l.wake()
	return nil
}

// Follow implements revocation.Log.
func (l *Log) Follow(ctx context.Context, apply func(revocation.Record), current func()) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for read := 0; ; {
		records, changed, err := l.after(read)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.ExpiresAt.After(time.Now()) {
				apply(r)
			}
		}
		read += len(records)
		current()
		select {
		case <-changed:
		case <-beat.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", revocation.ErrUnavailable, ctx.Err())
		}
	}
}

// SetAway takes the log away, which ends every Follow, or gives it back.
func (l *Log) SetAway(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
	l.wake()
}

// Truncate makes the log lose all records but the first n. Take it away first: a follower would not notice.
func (l *Log) Truncate(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = l.records[:n]
}

// Records returns what was appended so far.
func (l *Log) Records() []revocation.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]revocation.Record(nil), l.records...)
}

func (l *Log) after(read int) (records []revocation.Record, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, nil, fmt.Errorf("%w: taken away", revocation.ErrUnavailable)
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return append([]revocation.Record(nil), l.records[read:]...), l.changed, nil
}

func (l *Log) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}
