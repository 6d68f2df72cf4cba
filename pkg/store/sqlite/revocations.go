package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/revocation"
)

const (
	// revocationPage is how many records a follower reads at a time.
	revocationPage = 1000
	// followInterval is how often a follower makes sure that it is current when nothing is appended.
	followInterval = 2 * time.Second
)

// revocationLog implements revocation.Log. Followers are in this process, so they are woken directly.
type revocationLog struct {
	store *Store
	mu    sync.Mutex
	// appended is closed, and replaced, at each append.
	appended chan struct{}
}

func (l *revocationLog) init(s *Store) {
	l.store, l.appended = s, make(chan struct{})
}

// Revocations is the log of refused tokens.
func (s *Store) Revocations() revocation.Log { return &s.revocations }

// Append implements revocation.Log.
func (l *revocationLog) Append(ctx context.Context, r revocation.Record) error {
	err := l.store.write(ctx, "append_revocation", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO revocations (token_id, subject, min_generation, expires_at) VALUES (?, ?, ?, ?)",
			r.TokenID, r.Subject, r.MinGeneration, millis(r.ExpiresAt))
		return err
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
	last := int64(0)
	for {
		appended := l.next()
		n, err := l.read(ctx, &last, apply)
		if err != nil {
			return fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
		}
		if n == revocationPage {
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

// read hands the next page of records to apply and moves last past it.
func (l *revocationLog) read(ctx context.Context, last *int64, apply func(revocation.Record)) (n int, err error) {
	type record struct {
		revocation.Record
		id int64
	}
	q := query{operation: "revocations", stmt: l.store.stmts.revocations, args: []any{*last, millis(time.Now()), revocationPage}}
	page, err := all(ctx, l.store, q, func(row row) (r record, err error) {
		var expires int64
		err = row.Scan(&r.id, &r.TokenID, &r.Subject, &r.MinGeneration, &expires)
		r.ExpiresAt = fromMillis(expires)
		return r, err
	})
	for _, r := range page {
		apply(r.Record)
		*last = r.id
	}
	return len(page), err
}
