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
// An entry counts only once its message is committed, so it need not be on the disk before: what is appended to the log without a
// sync becomes durable with the sync of the commit, which comes after it in the same log. After a power failure the log ends
// somewhere; a message is there only if its entries, which precede it, are. Two kinds of entries are passed by readers as soon as they
// stand: a tombstone, and an entry whose message id is decided already. A slice that holds one is synced.
func (s *Store) InsertEntries(ctx context.Context, entries []store.Entry) (written []bool, err error) {
	err = s.observed(ctx, "insert_entries", func() error {
		return s.commit(ctx, false, func(t *turn) error {
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

// bulk is one turn of entries and messages. What it has put into its batch cannot be read yet: Store.decided, Store.fresh and the owners
// know of it.
type bulk struct {
	*turn
	// inboxes is room for those of a send, and key, value and header for what is written.
	inboxes            []inbox
	key, value, header []byte
	// rows are the entries as they were before the turn, once an inbox was looked up.
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
		s.owners.forget() // they may know of what was not written
	}
	return err
}

// decided reports whether a message or a tombstone stands under an id.
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

// sync makes the write a durable one, for which readers of an inbox wait.
func (w *bulk) sync(user string) {
	w.synced = true
	w.key = appendNamePrefix(w.key[:0], tableEntries, user)
	if inbox := w.key; !slices.ContainsFunc(w.marks, func(mark string) bool { return mark == string(inbox) }) {
		w.marks = append(w.marks, string(inbox))
	}
}

// taken reports whether something stands at an entry's position.
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
	w.s.owners.put(in)
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

// inUse is decided for who tells what it finds: that has to be durable.
func (w *bulk) inUse(id store.MessageID) (bool, error) {
	decided, err := w.decided(id)
	if decided {
		w.saw(w.s.flights.message(id))
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

// send writes a send whole, or finds what is in its way.
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

// owner is what is known of an inbox: who writes need not look it up.
type owner struct {
	// tail is no lower than any position that holds an entry. Above it nothing stands.
	tail int64
	// due is when the store will look for what is to be purged on that day, or unknown. What is not known is not looked up: a row too many
	// costs less, and goes with the others of its day.
	due int64
}

const unknown = math.MinInt64

// looks reports whether the store is known to look into the inbox on the day of a moment, and no later than then.
func (o owner) looks(at int64) bool {
	return o.due != unknown && o.due <= at && dayOf(o.due) == dayOf(at)
}

// inbox is an owner and the hash of its name.
type inbox struct {
	owner
	hash uint64
}

type hashedPlace struct {
	hash     uint64
	position int64
}

// maxOwners is how many inboxes are known at least, and half as many as at most. So many take 20 MiB: to look up one that is not known costs
// more than all the rest of a send.
const maxOwners = 1 << 19

// owners are the inboxes that were written to last, by the hashes of their names. Of a million, two have one hash once in 37 million
// processes: then the tail of one may be taken for the other's, whose positions are written once only as long as the counters that give them
// do not go back, and one may be purged on the next day that it has something due.
type owners struct {
	seed           maphash.Seed
	recent, before map[uint64]owner
}

func (o *owners) get(user string) (in inbox, known bool) {
	in.hash = maphash.String(o.seed, user)
	if in.owner, known = o.recent[in.hash]; known {
		return in, true
	}
	if in.owner, known = o.before[in.hash]; known {
		o.put(in)
	}
	return in, known
}

func (o *owners) put(in inbox) {
	if len(o.recent) >= maxOwners {
		o.before, o.recent = o.recent, nil
	}
	if o.recent == nil {
		o.recent = map[uint64]owner{}
	}
	in.tail = max(in.tail, o.recent[in.hash].tail)
	o.recent[in.hash] = in.owner
}

func (o *owners) forget() { o.recent, o.before = nil, nil }

// inbox finds an inbox.
func (w *bulk) inbox(user string) (inbox, error) {
	in, known := w.s.owners.get(user)
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
	w.s.owners.put(in)
	return in, nil
}

func appendNumber(dst []byte, n int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(n)) }

func number(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errBadValue
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}
