package inbox

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	// scanWindow is the least number of positions that one read looks at, so that a read with a small limit still sees what follows shortly
	// after.
	scanWindow = 128
	// maxFill is how many missing positions are filled with holes at a time.
	maxFill = 1024
	// maxGap is how far below an entry a missing position is still filled: the number of sends that one node has under way at most. What is
	// missing further down was most likely removed by retention. It is skipped, but no sooner than it could be filled.
	maxGap = DefaultQueueLength
	// longPast is the age of an entry below which nothing is under way any more. What is missing there was removed by retention or never
	// written: readers skip it at once and write nothing.
	longPast = 24 * time.Hour
	// MaxSkipped bounds the positions that one read, and the answer to one poll, report as skipped.
	MaxSkipped = 10_000
	// contentBudget bounds the bytes of content that one read returns and that a walk holds at a time. A single larger message may exceed
	// it.
	contentBudget = 4 << 20
	// unknownSize is what a message counts if its entry has no size.
	unknownSize = contentBudget / 16
	// aheadWindow is how far a read looks for other undecided positions when it meets one that is not watched yet.
	aheadWindow = 1024
	// maxDecisions bounds how often one read decides positions and looks again. Each round decides one run of undecided positions.
	maxDecisions = 64
)

// Reader reads inboxes and decides what dead writers left undecided. Its methods may be called concurrently.
type Reader struct {
	cfg   Config
	stuck *watch
}

// NewReader makes a Reader.
func NewReader(cfg Config) *Reader {
	cfg = cfg.withDefaults()
	return &Reader{cfg: cfg, stuck: newWatch(cfg)}
}

// Batch is a contiguous range of an inbox: each position after the requested one, up to Next, is either in Items or in Skipped.
type Batch struct {
	Items   []Item
	Skipped []int64
	Next    int64
	// Blocked means that the range ends before an undecided position: look again shortly.
	Blocked bool
	// More means that the range ends at a limit of the read, not at the head of the inbox.
	More bool
	// PastHead means that the requested position is beyond everything the inbox ever held: it comes from another epoch.
	PastHead bool
}

// Read returns the decided positions after a position, without gaps, up to limit items. It decides positions that have been undecided for
// too long; the store's write-once rule decides the race with their writer.
func (r *Reader) Read(ctx context.Context, user string, after int64, limit int) (_ Batch, err error) {
	r.cfg.Metrics.storeReads.WithLabelValues("poll").Inc()
	ctx, span := tracing.Start(ctx, "inbox read", trace.SpanKindInternal)
	defer func() { tracing.End(span, err) }()
	batch := Batch{Next: after}
	for range maxDecisions {
		part, open, err := r.scan(ctx, user, batch.Next, limit)
		if err != nil {
			return batch.orFail(after, err)
		}
		batch = batch.followedBy(part)
		if open == nil || len(batch.Items) > 0 || len(batch.Skipped) >= MaxSkipped {
			return batch, nil
		}
		decided, err := r.decide(ctx, user, open)
		if err != nil {
			return batch.orFail(after, err)
		}
		if !decided {
			return batch, nil
		}
	}
	return batch, nil
}

// followedBy joins two ranges; next begins where b ends.
func (b Batch) followedBy(next Batch) Batch {
	next.PastHead = next.PastHead && len(b.Skipped) == 0 // the positions just skipped existed
	next.Items, next.Skipped = append(b.Items, next.Items...), append(b.Skipped, next.Skipped...)
	return next
}

// orFail returns what was read before the error, or the error if nothing was.
func (b Batch) orFail(after int64, err error) (Batch, error) {
	if b.Next > after {
		b.More = true
		return b, nil
	}
	return b, err
}

// undecided is what a scan stopped at: a run of missing positions below an entry, or an entry without its message.
type undecided struct {
	holes    []int64
	neighbor store.Entry
	prepared *store.Entry
}

// key is its key in the watch.
func (u *undecided) key(user string) string {
	if u.prepared != nil {
		return u.prepared.Message.String()
	}
	return holeKey(user, u.holes[0])
}

func (r *Reader) scan(ctx context.Context, user string, after int64, limit int) (Batch, *undecided, error) {
	batch := Batch{Next: after}
	window := int64(max(limit, scanWindow))
	// The read includes the entry at after: if it exists, after is not past the head.
	entries, err := r.cfg.Store.Entries(ctx, user, after-1, after+window)
	if err != nil {
		return batch, nil, err
	}
	known := false
	if len(entries) > 0 && entries[0].Position == after {
		known, entries = true, entries[1:]
	}
	if len(entries) == 0 {
		batch, open, err := r.scanGap(ctx, user, batch, known)
		if err == nil && open != nil {
			err = r.watchAhead(ctx, user, entries, batch.Next, open)
		}
		return batch, open, err
	}
	batch, open, err := r.scanRun(ctx, batch, entries, limit)
	switch {
	case err != nil:
	case open != nil:
		err = r.watchAhead(ctx, user, entries, batch.Next, open)
	case batch.More || batch.Next == after+window:
		batch.More = true
	default:
		// There may be more further on, even behind a hole that begins within the window.
		var beyond int64
		beyond, err = r.cfg.Store.FirstAfter(ctx, user, batch.Next)
		batch.More = beyond > 0
	}
	return batch, open, err
}

// watchAhead starts to watch undecided positions beyond the one at which a read stopped, so that readers wait for all that dead writers
// left at the same time, not one after the other. It checks the entries that were read. If no read has stopped at this position before, it
// reads further ahead.
func (r *Reader) watchAhead(ctx context.Context, user string, entries []store.Entry, position int64, open *undecided) (err error) {
	if !r.stuck.watches(open.key(user)) {
		if entries, err = r.cfg.Store.Entries(ctx, user, position, position+aheadWindow); err != nil {
			return err
		}
	}
	for len(entries) > 0 && entries[0].Position <= position {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return nil
	}
	for _, e := range entries {
		if e.Position > position+1 {
			r.stuck.notice(holeKey(user, position+1))
		}
		position = e.Position
	}
	ids := claims(entries, r.cfg.Now())
	decided, err := r.cfg.Store.Decided(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, there := decided[id]; !there {
			r.stuck.notice(id.String())
		}
	}
	return nil
}

// holeKey is the key of a run of missing positions: its first position.
func holeKey(user string, first int64) string { return fmt.Sprintf("%s/%d", user, first) }

// scanGap looks beyond an empty window.
func (r *Reader) scanGap(ctx context.Context, user string, batch Batch, known bool) (Batch, *undecided, error) {
	first, err := r.cfg.Store.FirstAfter(ctx, user, batch.Next)
	if err != nil {
		return batch, nil, err
	}
	if first == 0 {
		if known {
			return batch, nil, nil
		}
		return r.scanEnd(ctx, user, batch)
	}
	if first == batch.Next+1 {
		batch.More = true // it was written between the two reads
		return batch, nil, nil
	}
	entries, err := r.cfg.Store.Entries(ctx, user, first-1, first)
	if err != nil || len(entries) == 0 {
		batch.Blocked = true // it was removed between the two reads: look again
		return batch, nil, err
	}
	batch, open := r.passGap(batch, user, entries[0])
	return batch, open, nil
}

// scanEnd handles a position without an entry at or above it: retention removed what was there, a writer died before it wrote what it had
// announced, or the position is beyond everything that ever existed.
func (r *Reader) scanEnd(ctx context.Context, user string, batch Batch) (Batch, *undecided, error) {
	tail, err := r.tail(ctx, user)
	switch {
	case err != nil:
		return batch, nil, err
	case tail.Position < batch.Next:
		batch.PastHead = true
		return batch, nil, nil
	}
	if tail.Removed > batch.Next {
		if batch = batch.skip(tail.Removed); batch.Next < tail.Removed {
			return batch, nil, nil
		}
	}
	if batch.More = false; batch.Next == tail.Position {
		return batch, nil, nil
	}
	// The age of the last positions is unknown. They count as missing since a reader first noticed.
	batch, open := r.passGap(batch, user, store.Entry{User: user, Position: tail.Position + 1, At: r.cfg.Now()})
	return batch, open, nil
}

func (r *Reader) tail(ctx context.Context, user string) (store.Tail, error) {
	tails, err := r.cfg.Store.Tails(ctx, []string{user})
	return tails[user], err
}

// passGap skips the positions missing below an entry as far as nothing can be written there any more. The rest is undecided.
func (r *Reader) passGap(batch Batch, user string, neighbor store.Entry) (Batch, *undecided) {
	before := neighbor.Position - 1
	if r.cfg.Now().Sub(neighbor.At) >= longPast {
		return batch.skip(before), nil
	}
	key := holeKey(user, batch.Next+1)
	if old := before - maxGap; old > batch.Next && r.stuck.tooLong(key, neighbor.At) {
		batch = batch.skip(old)
		r.stuck.carry(key, holeKey(user, batch.Next+1))
		return batch, nil
	}
	batch.Blocked = true
	if before > batch.Next+maxGap {
		return batch, nil
	}
	return batch, &undecided{holes: missing(batch.Next, min(neighbor.Position, batch.Next+maxFill+1)), neighbor: neighbor}
}

// skip skips positions up to upTo, at most MaxSkipped per read, and sets More.
func (b Batch) skip(upTo int64) Batch {
	for b.Next < upTo && len(b.Skipped) < MaxSkipped {
		b.Next++
		b.Skipped = append(b.Skipped, b.Next)
	}
	b.More = true
	return b
}

// missing lists the positions between after and before.
func missing(after, before int64) []int64 {
	var list []int64
	for p := after + 1; p < before; p++ {
		list = append(list, p)
	}
	return list
}

// scanRun walks entries in order and stops at the first undecided position or at a limit.
func (r *Reader) scanRun(ctx context.Context, batch Batch, entries []store.Entry, limit int) (Batch, *undecided, error) {
	bytes, last := 0, entries[len(entries)-1].Position
	for resolved, err := range r.walk(ctx, entries, limit) {
		if err != nil {
			return batch, nil, err
		}
		e := resolved.Entry
		if e.Position > batch.Next+1 {
			var open *undecided
			if batch, open = r.passGap(batch, e.User, e); open != nil || batch.Next+1 < e.Position {
				return batch, open, nil
			}
			batch.More = false
		}
		switch resolved.state {
		case prepared:
			batch.Blocked = true
			return batch, &undecided{prepared: &e}, nil
		case empty:
			batch.Skipped = append(batch.Skipped, e.Position)
		case delivered:
			if len(batch.Items) > 0 && bytes+len(resolved.Message.Content) > contentBudget {
				batch.More = true
				return batch, nil, nil
			}
			bytes += len(resolved.Message.Content)
			batch.Items = append(batch.Items, resolved.Item)
		}
		batch.Next = e.Position
		if len(batch.Items) == limit && e.Position < last {
			batch.More = true
			return batch, nil, nil
		}
	}
	return batch, nil, nil
}

// decide decides what scan stopped at, if it has been undecided for too long.
func (r *Reader) decide(ctx context.Context, user string, u *undecided) (bool, error) {
	if u.prepared != nil {
		return r.abortPrepared(ctx, *u.prepared)
	}
	return r.fillHoles(ctx, user, u)
}

// fillHoles writes holes into missing positions. Where an entry is there after all, the entry stays. Where the hole is written, the late
// writer is refused and takes another position.
func (r *Reader) fillHoles(ctx context.Context, user string, u *undecided) (bool, error) {
	key := u.key(user)
	if !r.stuck.tooLong(key, u.neighbor.At) {
		return false, nil
	}
	written, err := r.writeHoles(ctx, user, u)
	if err != nil {
		// Part of the holes may be written. The runs still missing then start at other positions, and keep the same age.
		for _, p := range u.holes[1:] {
			r.stuck.extend(key, holeKey(user, p))
		}
		return false, err
	}
	r.cfg.Metrics.holesFilled.Add(float64(written))
	if above := u.holes[len(u.holes)-1] + 1; above < u.neighbor.Position {
		r.stuck.carry(key, holeKey(user, above)) // the rest is missing below the same entry, for as long
	}
	r.stuck.decided(key)
	return true, nil
}

// abortPrepared inserts a tombstone for a prepared message that never came. If the message is there already, it is committed. If the
// tombstone is written, the send has failed for all its recipients at once.
func (r *Reader) abortPrepared(ctx context.Context, e store.Entry) (bool, error) {
	key := e.Message.String()
	if !r.stuck.tooLong(key, e.At) {
		return false, nil
	}
	written, err := r.cfg.Store.InsertMessages(ctx, []store.Message{r.cfg.tombstone(e.Message)})
	if err != nil {
		return false, err
	}
	if written[0] {
		r.cfg.Metrics.sendsAborted.Inc()
	}
	r.stuck.decided(key)
	return true, nil
}

// claims returns the messages of entries that count only if their message is there.
func claims(entries []store.Entry, now time.Time) (ids []store.MessageID) {
	for _, e := range entries {
		if claimed(e, now) {
			ids = append(ids, e.Message)
		}
	}
	return ids
}

func claimed(e store.Entry, now time.Time) bool {
	return e.Kind != store.Hole && e.ExpiresAt.After(now)
}
