package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/revocation"
)

const (
	// revocationPage is how many records a follower reads at a time.
	revocationPage = 1000
	// followInterval is how often a follower checks that it is current when nothing is appended.
	followInterval = 2 * time.Second
)

// revocationLog implements revocation.Log. Followers are in this process, so they are woken directly.
type revocationLog struct {
	store *Store
	// last is the id of the last record. Only the writer goroutine uses it.
	last uint64

	mu sync.Mutex
	// appended is closed and replaced at each append.
	appended chan struct{}
}

func (l *revocationLog) init(s *Store) error {
	l.store, l.appended = s, make(chan struct{})
	records, err := s.iterate(span{from: []byte{tableRevocations}, to: []byte{tableRevocations + 1}})
	if err != nil {
		return err
	}
	if records.Last() {
		l.last = binary.BigEndian.Uint64(records.Key()[1:])
	}
	return records.Close()
}

// Revocations returns the log of revoked tokens.
func (s *Store) Revocations() revocation.Log { return &s.revocations }

func revocationKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableRevocations}, id)
}

// Append implements revocation.Log.
func (l *revocationLog) Append(ctx context.Context, r revocation.Record) error {
	err := l.store.write(ctx, "append_revocation", func(t *turn) error {
		l.last++ // even if the write fails: no id is used twice
		key := revocationKey(l.last)
		value := appendString(appendString([]byte{layout}, r.TokenID), r.Subject)
		value = appendTime(binary.AppendVarint(value, r.MinGeneration), r.ExpiresAt)
		if err := t.batch.Set(expiryKey(tableRevocationExpiry, millis(r.ExpiresAt), key[1:]), nil, nil); err != nil {
			return err
		}
		return t.set(key, value)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.appended)
	l.appended = make(chan struct{})
	return nil
}

func (l *revocationLog) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appended
}

// Follow implements revocation.Log.
func (l *revocationLog) Follow(ctx context.Context, apply func(revocation.Record), current func()) error {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	last := uint64(0)
	for {
		appended := l.next()
		page, err := l.read(ctx, last, time.Now())
		if err != nil {
			return fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
		}
		for _, r := range page {
			last = r.id
			if !r.expired {
				apply(r.Record)
			}
		}
		if len(page) == revocationPage {
			continue
		}
		current()
		select {
		case <-appended:
		case <-tick.C:
		case <-l.store.closed:
			return fmt.Errorf("%w: closed", revocation.ErrUnavailable)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type numbered struct {
	revocation.Record
	id      uint64
	expired bool
}

// read returns the next page of records. They become visible in the order of their ids.
func (l *revocationLog) read(ctx context.Context, after uint64, now time.Time) (page []numbered, err error) {
	s := l.store
	err = s.read(ctx, "revocations", func() error {
		bounds := span{from: revocationKey(after + 1), to: []byte{tableRevocations + 1}}
		return s.walk(ctx, bounds, func(key, value []byte) (more bool, err error) {
			r := readValue(value)
			one := numbered{id: binary.BigEndian.Uint64(key[1:]), Record: revocation.Record{TokenID: r.string(), Subject: r.string(), MinGeneration: r.int(), ExpiresAt: r.time()}}
			if err := broken(tableRevocations, r.err()); err != nil {
				return false, err
			}
			one.expired = !one.ExpiresAt.After(now)
			page = append(page, one)
			return len(page) < revocationPage, s.awaitRow(ctx, key)
		})
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}
