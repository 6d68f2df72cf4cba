package pebble

import (
	"context"
	"encoding/binary"
	"errors"
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
func (s *Store) InsertEntries(ctx context.Context, entries []store.Entry) (results []store.EntryResult, err error) {
	err = s.observed(ctx, "insert_entries", func() error {
		return s.commit(ctx, false, func(t *turn) error {
			return s.bulk(t, func(w *bulk) (err error) {
				results, err = w.insertEntries(entries)
				return err
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return results, nil
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

// placed is a message in an inbox.
type placed struct {
	user string
	id   store.MessageID
}

// bulk is one turn of entries and messages. What it has put into its batch cannot be read yet, and is known here.
type bulk struct {
	*turn
	// rows walks what stood before this turn under message ids; nil until it is needed.
	rows    *engine.Iterator
	known   map[store.MessageID]*standing
	touched []*owner
	// written are the entries of this turn; Store.placed holds their numbers.
	written []*store.Entry
	// key, value and header are room for what is written.
	key, value, header []byte
}

// standing is what stands under a message id.
type standing struct {
	decided bool
	// at is where it stood in which inbox before this turn.
	at map[string]place
}

func (s *Store) bulk(t *turn, f func(w *bulk) error) error {
	w := &bulk{turn: t, known: map[store.MessageID]*standing{}}
	err := f(w)
	if w.rows != nil {
		err = errors.Join(err, w.rows.Close())
	}
	clear(s.placed)
	for _, o := range w.touched {
		o.fresh = o.fresh[:0]
	}
	if err != nil {
		s.owners.forget() // they may know of what was not written
	}
	return err
}

// standing finds what stands under an id.
func (w *bulk) standing(id store.MessageID) (*standing, error) {
	if known := w.known[id]; known != nil {
		return known, nil
	}
	found := &standing{}
	if w.rows == nil {
		var err error
		if w.rows, err = w.s.iterate(prefixSpan([]byte{tableMessages})); err != nil {
			return nil, err
		}
	}
	w.key = messagePrefix(w.key[:0], id)
	for ok := w.rows.SeekPrefixGE(w.key); ok; ok = w.rows.Next() {
		under := w.rows.Key()[len(w.key):]
		if under[0] == underHeader {
			found.decided = true
			continue
		}
		value, err := w.rows.ValueAndErr()
		if err != nil {
			return nil, err
		}
		p, err := decodePlace(value)
		if err != nil {
			return nil, broken(tableMessages, err)
		}
		if found.at == nil {
			found.at = map[string]place{}
		}
		found.at[string(under[1:])] = p
	}
	w.known[id] = found
	return found, w.rows.Error()
}

func (w *bulk) insertEntries(entries []store.Entry) ([]store.EntryResult, error) {
	results := make([]store.EntryResult, len(entries))
	for i := range entries {
		e := &entries[i]
		st, err := w.standing(e.Message)
		if err != nil {
			return nil, err
		}
		o, err := w.owner(e.User)
		if err != nil {
			return nil, err
		}
		if results[i], err = w.inTheWay(e, st, o); err != nil {
			return nil, err
		}
		if results[i] != (store.EntryResult{}) {
			continue
		}
		if e.Kind == store.Hole || st.decided {
			w.sync(e.User)
		}
		if err := w.putEntry(e, o); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// sync makes the write a durable one, for which readers of an inbox wait.
func (w *bulk) sync(user string) {
	w.synced = true
	inbox := string(namePrefix(tableEntries, user))
	if !slices.Contains(w.marks, inbox) {
		w.marks = append(w.marks, inbox)
	}
}

// inTheWay says what an entry meets.
func (w *bulk) inTheWay(e *store.Entry, st *standing, o *owner) (store.EntryResult, error) {
	if i, written := w.s.placed[placed{e.User, e.Message}]; written {
		existing := *w.written[i]
		return store.EntryResult{Existing: &existing}, nil
	}
	if p, stood := st.at[e.User]; stood {
		existing, err := w.s.entry(e.User, p.position)
		return store.EntryResult{Existing: &existing}, err
	}
	taken, err := w.taken(o, e)
	return store.EntryResult{PositionTaken: taken}, err
}

// taken reports whether something stands at an entry's position.
func (w *bulk) taken(o *owner, e *store.Entry) (bool, error) {
	if e.Position > o.tail {
		return false, nil
	}
	if slices.Contains(o.fresh, e.Position) {
		return true, nil
	}
	w.key = entryKey(w.key[:0], e.User, e.Position)
	return w.s.look(w.key, func([]byte) error { return nil })
}

func (w *bulk) putEntry(e *store.Entry, o *owner) error {
	if err := checkName(e.User); err != nil {
		return err
	}
	if len(o.fresh) == 0 {
		w.touched = append(w.touched, o)
	}
	o.fresh, o.tail = append(o.fresh, e.Position), max(o.tail, e.Position)
	w.s.placed[placed{e.User, e.Message}] = len(w.written)
	w.written = append(w.written, e)
	if err := w.notePurge(o, e.User, millis(e.PurgeAt)); err != nil {
		return err
	}
	w.key, w.value = entryKey(w.key[:0], e.User, e.Position), appendEntry(w.value[:0], e)
	if err := w.batch.Set(w.key, w.value, nil); err != nil {
		return err
	}
	w.key, w.value = placeKey(w.key[:0], e.Message, e.User), appendPlace(w.value[:0], e.Position, e.ReadAt)
	return w.batch.Set(w.key, w.value, nil)
}

func (w *bulk) insertMessage(m *store.Message, written *bool) error {
	st, err := w.standing(m.ID)
	if err != nil {
		return err
	}
	if st.decided {
		if f := w.s.flights.message(m.ID); f != nil {
			w.seen = f
		}
		return nil
	}
	*written = true
	return w.putMessage(m, st)
}

func (w *bulk) putMessage(m *store.Message, st *standing) error {
	st.decided = true
	var flags byte
	if m.Tombstone {
		flags |= flagTombstone
	}
	switch {
	case m.Erased:
		flags |= flagErased
	case !m.Tombstone || m.Content != "" || m.IV != "" || m.Recipients != nil:
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
func (w *bulk) send(send *store.Send, result *store.SendResult) error {
	st, err := w.standing(send.Message.ID)
	if err != nil {
		return err
	}
	result.Decided = st.decided
	if f := w.s.flights.message(send.Message.ID); f != nil && st.decided {
		w.seen = f
	}
	owners := make([]*owner, len(send.Entries))
	free := !st.decided
	for i := range send.Entries {
		e := &send.Entries[i]
		if owners[i], err = w.owner(e.User); err != nil {
			return err
		}
		met, err := w.inTheWay(e, st, owners[i])
		if err != nil {
			return err
		}
		if met == (store.EntryResult{}) {
			continue
		}
		if result.Entries == nil {
			result.Entries = make([]store.EntryResult, len(send.Entries))
		}
		result.Entries[i] = met
		free = free && leftBehind(e, met.Existing)
	}
	if !free {
		return nil
	}
	result.Written = true
	for i := range send.Entries {
		if result.Entries != nil && result.Entries[i].Existing != nil {
			continue
		}
		if err := w.putEntry(&send.Entries[i], owners[i]); err != nil {
			return err
		}
	}
	return w.putMessage(&send.Message, st)
}

// leftBehind reports whether an entry that exists is what an earlier attempt has left of an entry.
func leftBehind(e, existing *store.Entry) bool {
	return existing != nil && existing.Position == e.Position && existing.Digest == e.Digest
}

// owner is what is known of an inbox: who writes need not look it up.
type owner struct {
	// tail is no lower than any position that holds an entry. Above it nothing stands.
	tail int64
	// day is one on which entries of the inbox are to be purged, and due when the first of them is, as the store has it.
	day int32
	due int64
	// fresh are the positions that this turn has written.
	fresh []int64
}

// maxOwners is how many inboxes are known at least, and half as many as at most.
const maxOwners = 1 << 15

// owners are the inboxes that were written to last.
type owners struct{ recent, before map[string]*owner }

func (o *owners) get(user string) *owner {
	if known := o.recent[user]; known != nil {
		return known
	}
	known := o.before[user]
	if known != nil {
		o.put(user, known)
	}
	return known
}

func (o *owners) put(user string, known *owner) {
	if len(o.recent) >= maxOwners {
		o.before, o.recent = o.recent, nil
	}
	if o.recent == nil {
		o.recent = map[string]*owner{}
	}
	o.recent[user] = known
}

func (o *owners) forget() { o.recent, o.before = nil, nil }

// owner finds an inbox.
func (w *bulk) owner(user string) (*owner, error) {
	if known := w.s.owners.get(user); known != nil {
		return known, nil
	}
	o := &owner{day: math.MinInt32, due: math.MaxInt64}
	rows, err := w.s.iterate(prefixSpan(namePrefix(tableEntries, user)))
	if err != nil {
		return nil, err
	}
	if rows.Last() {
		o.tail = positionOf(rows.Key())
	}
	if err := errors.Join(rows.Error(), rows.Close()); err != nil {
		return nil, err
	}
	w.s.owners.put(user, o)
	return o, nil
}

// notePurge makes sure that the store knows of an inbox that has something to be purged on a day, and when.
func (w *bulk) notePurge(o *owner, user string, at int64) error {
	day := dayOf(at)
	if o.day == day && o.due <= at {
		return nil
	}
	w.key = entryPurgeKey(w.key[:0], day, user)
	due := int64(math.MaxInt64)
	if o.day == day {
		due = o.due
	} else if _, err := w.s.look(w.key, func(value []byte) (err error) {
		due, err = number(value)
		return err
	}); err != nil {
		return err
	}
	o.day, o.due = day, min(due, at)
	if o.due == due {
		return nil
	}
	return w.batch.Set(w.key, appendNumber(nil, o.due), nil)
}

func appendNumber(dst []byte, n int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(n)) }

func number(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errBadValue
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}
