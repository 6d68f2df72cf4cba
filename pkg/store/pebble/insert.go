package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"slices"

	engine "github.com/cockroachdb/pebble/v2"

	"github.com/sealpost/sealpost/pkg/store"
)

// InsertEntries implements store.Log.
//
// An entry counts only once its message is committed, so it need not be on the disk before. It is appended to the log without a sync and
// becomes durable with the sync of the commit, which comes after it in the same log. After a power failure the log is cut off somewhere; a
// message in it comes after its entries, so they are there too. Readers pass two kinds of entries at once: holes, and entries whose message
// id is decided already. A slice with such an entry is synced.
//
// Readers write holes where a send has failed. They may do so on a nearly full disk, as they would otherwise have to wait for room.
func (s *Store) InsertEntries(ctx context.Context, entries []store.Entry) (written []bool, err error) {
	commit := s.commit
	if !slices.ContainsFunc(entries, func(e store.Entry) bool { return e.Kind != store.Hole }) {
		commit = s.do
	}
	err = s.observed(ctx, "insert_entries", func() error {
		return commit(ctx, false, func(t *turn) error {
			return s.bulk(t, func(w *bulk) error {
				written = make([]bool, len(entries))
				for i := range entries {
					if err := w.insertEntry(&entries[i], &written[i]); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// InsertMessages implements store.Log.
func (s *Store) InsertMessages(ctx context.Context, messages []store.Message) (written []bool, err error) {
	err = s.write(ctx, "insert_messages", func(t *turn) error {
		return s.bulk(t, func(w *bulk) error {
			written = make([]bool, len(messages))
			for i := range messages {
				if err := w.insertMessage(&messages[i], &written[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// Commit implements store.Committer.
func (s *Store) Commit(ctx context.Context, sends []store.Send) (results []store.SendResult, err error) {
	err = s.write(ctx, "commit", func(t *turn) error {
		return s.bulk(t, func(w *bulk) error {
			results = make([]store.SendResult, len(sends))
			for i := range sends {
				if err := w.send(&sends[i], &results[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// bulk is one turn that writes entries and messages. Reads do not see its batch yet; Store.decided, Store.fresh and Store.inboxes record what
// is in it.
type bulk struct {
	*turn
	// inboxes, key, value and header are reused buffers.
	inboxes            []inbox
	key, value, header []byte
	// rows iterates over the entries as they were before the turn. It is opened by the first lookup of an inbox.
	rows *engine.Iterator
}

func (s *Store) bulk(t *turn, f func(w *bulk) error) error {
	clear(s.decided)
	clear(s.fresh)
	w := &bulk{turn: t}
	err := f(w)
	if w.rows != nil {
		err = errors.Join(err, w.rows.Close())
	}
	if err != nil {
		s.inboxes.forget() // they may record what was not written
	}
	return err
}

// decided reports whether an id holds a message or a tombstone.
func (w *bulk) decided(id store.MessageID) (bool, error) {
	if decided, known := w.s.decided[id]; known {
		return decided, nil
	}
	w.key = headerKey(w.key[:0], id)
	decided, err := w.s.has(w.key)
	if err == nil {
		w.s.decided[id] = decided
	}
	return decided, err
}

func (w *bulk) insertEntry(e *store.Entry, written *bool) error {
	in, err := w.inbox(e.User)
	if err != nil {
		return err
	}
	taken, err := w.taken(in, e)
	if err != nil || taken {
		return err
	}
	decided, err := w.decided(e.Message)
	if err != nil {
		return err
	}
	if e.Kind == store.Hole || decided {
		w.sync(e.User)
	}
	*written = true
	return w.putEntry(e, in)
}

// sync makes the write durable, and readers of the inbox wait for it.
func (w *bulk) sync(user string) {
	w.synced = true
	w.key = appendNamePrefix(w.key[:0], tableEntries, user)
	if inbox := w.key; !slices.ContainsFunc(w.marks, func(mark string) bool { return mark == string(inbox) }) {
		w.marks = append(w.marks, string(inbox))
	}
}

// taken reports whether there is an entry at e's position.
func (w *bulk) taken(in inbox, e *store.Entry) (bool, error) {
	if e.Position > in.tail {
		return false, nil
	}
	if w.s.fresh[hashedPlace{in.hash, e.Position}] {
		return true, nil
	}
	w.key = entryKey(w.key[:0], e.User, e.Position)
	return w.s.has(w.key)
}

func (w *bulk) putEntry(e *store.Entry, in inbox) error {
	if err := checkName(e.User); err != nil {
		return err
	}
	w.s.fresh[hashedPlace{in.hash, e.Position}] = true
	in.tail = max(in.tail, e.Position)
	if at := millis(e.PurgeAt); !in.looks(at) {
		in.due = at
		w.key = entryPurgeKey(w.key[:0], at, e.User)
		if err := w.batch.Set(w.key, nil, nil); err != nil {
			return err
		}
	}
	w.s.inboxes.put(in)
	w.key, w.value = entryKey(w.key[:0], e.User, e.Position), appendEntry(w.value[:0], e)
	return w.batch.Set(w.key, w.value, nil)
}

func (w *bulk) insertMessage(m *store.Message, written *bool) error {
	decided, err := w.inUse(m.ID)
	if err != nil || decided {
		return err
	}
	*written = true
	return w.putMessage(m)
}

// inUse is decided for results that are reported to the caller: what they rest on has to be durable.
func (w *bulk) inUse(id store.MessageID) (bool, error) {
	decided, err := w.decided(id)
	if decided {
		w.dependsOn(w.s.syncs.message(id))
	}
	return decided, err
}

func (w *bulk) putMessage(m *store.Message) error {
	w.s.decided[m.ID] = true
	var flags byte
	if m.Tombstone {
		flags |= flagTombstone
	}
	switch {
	case m.Erased:
		flags |= flagErased
	case !m.Tombstone || m.Content != "" || m.IV != "" || m.Recipients != nil || m.Positions != nil:
		flags |= flagContent
	}
	w.decides = append(w.decides, m.ID)
	w.key, w.header = headerKey(w.key[:0], m.ID), appendHeader(w.header[:0], m, flags)
	if err := w.batch.Set(w.key, w.header, nil); err != nil {
		return err
	}
	w.key = messagePurgeKey(w.key[:0], millis(m.KeptUntil()), m.ID)
	if err := w.batch.Set(w.key, nil, nil); err != nil || flags&flagContent == 0 {
		return err
	}
	w.key = contentKey(w.key[:0], millis(m.ExpiresAt), m.ID)
	w.value = appendContent(w.value[:0], w.header, m)
	return w.batch.Set(w.key, w.value, nil)
}

// send writes a send whole, or finds what prevents it.
func (w *bulk) send(send *store.Send, result *store.SendResult) (err error) {
	if result.Decided, err = w.inUse(send.Message.ID); err != nil {
		return err
	}
	w.inboxes = w.inboxes[:0]
	for i := range send.Entries {
		e := &send.Entries[i]
		in, err := w.inbox(e.User)
		if err != nil {
			return err
		}
		w.inboxes = append(w.inboxes, in)
		taken, err := w.taken(in, e)
		if err != nil {
			return err
		}
		if taken && result.Taken == nil {
			result.Taken = make([]bool, len(send.Entries))
		}
		if taken {
			result.Taken[i] = true
		}
	}
	if result.Decided || result.Taken != nil {
		return nil
	}
	result.Written = true
	for i, in := range w.inboxes {
		if err := w.putEntry(&send.Entries[i], in); err != nil {
			return err
		}
	}
	return w.putMessage(&send.Message)
}

// owner caches what is known of an inbox, so that writers need not look it up.
type owner struct {
	// tail is at least every position that holds an entry. Positions above it are free.
	tail int64
	// due is when Purge will look into the inbox on that day, or unknown. An unknown value is not looked up: a superfluous purge row costs
	// less, and is removed with the others of its day.
	due int64
}

const unknown = math.MinInt64

// looks reports whether Purge is known to look into the inbox on the day of a moment, at that moment or before.
func (o owner) looks(at int64) bool {
	return o.due != unknown && o.due <= at && dayOf(o.due) == dayOf(at)
}

// inbox is an owner with the hash of its name.
type inbox struct {
	owner
	hash uint64
}

type hashedPlace struct {
	hash     uint64
	position int64
}

// maxInboxes is how many inboxes are cached at least; twice as many at most. That takes 20 to 40 MiB: a lookup costs more than all the rest of a
// send.
const maxInboxes = 1 << 19

// inboxCache are the most recently written inboxes, by the hashes of their names. Among a million, two share a hash in one of 37 million
// processes. Then the tail of one may be taken for the other's, whose positions stay write-once only as long as its counter does not go
// back, and one may be purged only on the next day on which it has something due.
type inboxCache struct {
	seed           maphash.Seed
	recent, before map[uint64]owner
}

func (o *inboxCache) get(user string) (in inbox, known bool) {
	in.hash = maphash.String(o.seed, user)
	if in.owner, known = o.recent[in.hash]; known {
		return in, true
	}
	if in.owner, known = o.before[in.hash]; known {
		o.put(in)
	}
	return in, known
}

func (o *inboxCache) put(in inbox) {
	if len(o.recent) >= maxInboxes {
		o.before, o.recent = o.recent, nil
	}
	if o.recent == nil {
		o.recent = map[uint64]owner{}
	}
	in.tail = max(in.tail, o.recent[in.hash].tail)
	o.recent[in.hash] = in.owner
}

func (o *inboxCache) forget() { o.recent, o.before = nil, nil }

// inbox returns what is known of an inbox, and looks it up if needed.
func (w *bulk) inbox(user string) (inbox, error) {
	in, known := w.s.inboxes.get(user)
	if known {
		return in, nil
	}
	if w.rows == nil {
		var err error
		if w.rows, err = w.s.iterate(prefixSpan([]byte{tableEntries})); err != nil {
			return in, err
		}
	}
	w.key = appendNamePrefix(w.key[:0], tableEntries, user)
	tail, err := highest(w.rows, w.key)
	if err != nil {
		return in, err
	}
	in.owner = owner{tail: max(0, tail), due: unknown}
	w.s.inboxes.put(in)
	return in, nil
}

func appendNumber(dst []byte, n int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(n)) }

func number(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errBadValue
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}
