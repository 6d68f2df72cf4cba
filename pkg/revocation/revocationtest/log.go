package revocationtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/revocation"
)

// heartbeat is how often current is called for an idle follower.
const heartbeat = time.Second

// Log is a revocation log in memory, for tests: not durable. It can be made unavailable. The zero value is an empty log.
type Log struct {
	mu      sync.Mutex
	records []revocation.Record
	away    bool
	// changed is closed when a record was added, or the log became unavailable.
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

// SetAway makes the log unavailable, which ends every Follow, or available again.
func (l *Log) SetAway(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
	l.wake()
}

// Truncate makes the log lose all records but the first n. Make it unavailable first: a follower would not notice.
func (l *Log) Truncate(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = l.records[:n]
}

// Records returns the records appended so far.
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
