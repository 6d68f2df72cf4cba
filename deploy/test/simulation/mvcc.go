package simulation

import (
	"slices"
	"sort"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// version counts the changes of the store's data. A read sees one version, the last or an older one.
type version int64

// row is a document from its write to its removal.
type row[T any] struct {
	value T
	from  version
	// to is the version that removed it; 0 while it stands.
	to version
}

func (r *row[T]) at(v version) bool { return r.from <= v && (r.to == 0 || r.to > v) }

// data is the contents of the simulated store, with all past versions.
type data struct {
	last version
	// synced is the last version that survives a power cut.
	synced version
	// times are the times of the versions.
	times    []time.Time
	inboxes  map[string]*table
	messages map[store.MessageID][]*row[store.Message]
	sessions map[string][]*row[store.SessionCursor]
	epochs   []row[string]
}

// table is an inbox: its rows in the order of their positions.
type table struct {
	rows   []*row[store.Entry]
	blocks []row[int64]
}

func newData(epoch string) *data {
	return &data{
		last: 1, synced: 1, times: []time.Time{{}, time.Now()}, inboxes: map[string]*table{}, messages: map[store.MessageID][]*row[store.Message]{},
		sessions: map[string][]*row[store.SessionCursor]{}, epochs: []row[string]{{value: epoch, from: 1}},
	}
}

// next begins a new version.
func (d *data) next() version {
	d.last++
	d.times = append(d.times, time.Now())
	return d.last
}

// asOf returns the version that was the last at a time.
func (d *data) asOf(t time.Time) version {
	i := sort.Search(len(d.times), func(i int) bool { return d.times[i].After(t) })
	return version(max(1, i-1))
}

func (d *data) inbox(user string) *table {
	t := d.inboxes[user]
	if t == nil {
		t = &table{}
		d.inboxes[user] = t
	}
	return t
}

// removed returns a position up to which everything was removed and nothing stands.
func (t *table) removed(v version) (position int64) {
	for _, r := range t.rows {
		switch {
		case r.at(v):
			return position
		case r.to != 0 && r.to <= v:
			position = r.value.Position
		}
	}
	return position
}

// everHeld returns the highest position that ever held an entry.
func (d *data) everHeld(user string) (position int64) {
	if t := d.inboxes[user]; t != nil && len(t.rows) > 0 {
		return t.rows[len(t.rows)-1].value.Position
	}
	return 0
}

// first returns the index of the first row at or above a position.
func (t *table) first(position int64) int {
	return sort.Search(len(t.rows), func(i int) bool { return t.rows[i].value.Position >= position })
}

// standing finds the row that stands at a position.
func (t *table) standing(position int64, v version) *row[store.Entry] {
	for i := t.first(position); i < len(t.rows) && t.rows[i].value.Position == position; i++ {
		if t.rows[i].at(v) {
			return t.rows[i]
		}
	}
	return nil
}

func find[T any](rows []*row[T], v version) *row[T] {
	for _, r := range slices.Backward(rows) {
		if r.at(v) {
			return r
		}
	}
	return nil
}

// insertEntry writes one entry if its position is free.
func (d *data) insertEntry(e store.Entry) bool {
	t := d.inbox(e.User)
	if t.standing(e.Position, d.last) != nil {
		return false
	}
	r := &row[store.Entry]{value: e, from: d.next()}
	t.rows = slices.Insert(t.rows, t.first(e.Position+1), r)
	return true
}

// insertRemoved writes an entry that existed and was removed.
func (d *data) insertRemoved(e store.Entry) {
	t := d.inbox(e.User)
	r := &row[store.Entry]{value: e, from: d.next(), to: d.next()}
	t.rows = slices.Insert(t.rows, t.first(e.Position+1), r)
}

// mark marks the block of a position, before an entry is written there.
func (d *data) mark(user string, position, size int64) {
	t := d.inbox(user)
	block := (position-1)/size + 1
	if n := len(t.blocks); n == 0 || t.blocks[n-1].value < block {
		t.blocks = append(t.blocks, row[int64]{value: block, from: d.next()})
	}
}

func (d *data) insertMessage(m store.Message) bool {
	if find(d.messages[m.ID], d.last) != nil {
		return false
	}
	d.messages[m.ID] = append(d.messages[m.ID], &row[store.Message]{value: m, from: d.next()})
	return true
}

// commit writes a send, unless an entry or a message is in its way.
func (d *data) commit(s store.Send) store.SendResult {
	result := store.SendResult{Decided: find(d.messages[s.Message.ID], d.last) != nil}
	taken, free := make([]bool, len(s.Entries)), true
	for i, e := range s.Entries {
		if d.inbox(e.User).standing(e.Position, d.last) != nil {
			taken[i], free = true, false
		}
	}
	if !free {
		result.Taken = taken
	}
	if result.Decided || !free {
		return result
	}
	for _, e := range s.Entries {
		d.mark(e.User, e.Position, 1)
		d.insertEntry(e)
	}
	result.Written = d.insertMessage(s.Message)
	return result
}

// keep extends how long what was read under an id is kept, and reports whether it is still there. Its content goes no later for that.
func (d *data) keep(m store.Message, until time.Time) bool {
	r := find(d.messages[m.ID], d.last)
	if r == nil || r.value.Tombstone != m.Tombstone || !r.value.CreatedAt.Equal(m.CreatedAt) {
		return false
	}
	if m := r.value; m.KeptUntil().Before(until) {
		m.PurgeAt = until
		r.to = d.next()
		d.messages[m.ID] = append(d.messages[m.ID], &row[store.Message]{value: m, from: d.last})
	}
	return true
}

// entries lists the entries at positions after < p <= upTo.
func (d *data) entries(user string, after, upTo int64, v version) []store.Entry {
	t := d.inboxes[user]
	if t == nil {
		return nil
	}
	var list []store.Entry
	for i := t.first(after + 1); i < len(t.rows) && t.rows[i].value.Position <= upTo; i++ {
		if t.rows[i].at(v) {
			list = append(list, t.rows[i].value)
		}
	}
	return list
}

func (d *data) firstAfter(user string, after int64, v version) int64 {
	if t := d.inboxes[user]; t != nil {
		for i := t.first(after + 1); i < len(t.rows); i++ {
			if t.rows[i].at(v) {
				return t.rows[i].value.Position
			}
		}
	}
	return 0
}

// block returns the highest marked block of an inbox.
func (d *data) block(user string, v version) (block int64, since time.Time) {
	if t := d.inboxes[user]; t != nil {
		for _, b := range slices.Backward(t.blocks) {
			if b.from <= v {
				return b.value, d.times[b.from]
			}
		}
	}
	return 0, time.Time{}
}

// lastWithin returns the highest position that holds an entry, above one and up to another.
func (d *data) lastWithin(user string, above, upTo int64, v version) int64 {
	if t := d.inboxes[user]; t != nil {
		for i := t.first(upTo+1) - 1; i >= 0 && t.rows[i].value.Position > above; i-- {
			if t.rows[i].at(v) {
				return t.rows[i].value.Position
			}
		}
	}
	return 0
}

func (d *data) message(id store.MessageID, v version) (store.Message, bool) {
	if r := find(d.messages[id], v); r != nil {
		return r.value, true
	}
	return store.Message{}, false
}

func (d *data) session(key string, v version) (store.SessionCursor, bool) {
	if r := find(d.sessions[key], v); r != nil {
		return r.value, true
	}
	return store.SessionCursor{}, false
}

func (d *data) putSession(key string, c store.SessionCursor) {
	v := d.next()
	if r := find(d.sessions[key], v-1); r != nil {
		r.to = v
	}
	d.sessions[key] = append(d.sessions[key], &row[store.SessionCursor]{value: c, from: v})
}

func (d *data) epoch(v version) string {
	for _, r := range slices.Backward(d.epochs) {
		if r.from <= v {
			return r.value
		}
	}
	return ""
}

func (d *data) putEpoch(epoch string) {
	d.epochs = append(d.epochs, row[string]{value: epoch, from: d.next()})
}

// expire removes a share of what may be removed, in any order, as TTL does.
func (d *data) expire(now time.Time, dice *rng, share float64) (removed int) {
	var list []func(version)
	users := make([]string, 0, len(d.inboxes))
	for user := range d.inboxes {
		users = append(users, user)
	}
	slices.Sort(users)
	for _, user := range users {
		for _, r := range d.inboxes[user].rows {
			if r.to == 0 && r.value.PurgeAt.Before(now) && (dice.hit(share) || overdueBy(r.value.PurgeAt, now)) {
				list = append(list, func(v version) { r.to = v })
			}
		}
	}
	list = append(list, d.overdue(now, dice, share)...)
	dice.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, remove := range list {
		remove(d.next())
	}
	return len(list)
}

// due finds what stands under an id, if it may be removed.
func (d *data) due(id store.MessageID, now time.Time) *row[store.Message] {
	if r := find(d.messages[id], d.last); r != nil && r.value.KeptUntil().Before(now) {
		return r
	}
	return nil
}

// purge removes what is due under an id, and reports whether there was anything.
func (d *data) purge(id store.MessageID, now time.Time) bool {
	r := d.due(id, now)
	if r != nil {
		r.to = d.next()
	}
	return r != nil
}

// overdueBy reports whether something due at a time must be gone by now.
func overdueBy(due, now time.Time) bool { return now.Sub(due) > mostOverdue }

// overdue lists the pending removals of messages: expired ones lose their content, and those past their time are purged.
func (d *data) overdue(now time.Time, dice *rng, share float64) (list []func(version)) {
	ids := make([]store.MessageID, 0, len(d.messages))
	for id := range d.messages {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b store.MessageID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		for _, r := range d.messages[id] {
			switch m := r.value; {
			case r.to != 0 || (!dice.hit(share) && !overdueBy(m.KeptUntil(), now)):
			case m.KeptUntil().Before(now):
				list = append(list, func(v version) { r.to = v })
			case m.ExpiresAt.Before(now) && !m.Erased && !m.Tombstone:
				m.Content, m.IV, m.Recipients, m.Positions, m.Erased = "", "", nil, nil, true
				list = append(list, func(v version) {
					r.to = v
					d.messages[id] = append(d.messages[id], &row[store.Message]{value: m, from: v})
				})
			}
		}
	}
	return list
}

// copy returns the data as of a version, for a backup.
func (d *data) copy(v version) *data {
	c := newData(d.epoch(v))
	for id := range d.messages {
		if m, there := d.message(id, v); there {
			c.insertMessage(m)
		}
	}
	for user, t := range d.inboxes {
		for _, r := range t.rows {
			switch {
			case r.at(v):
				c.insertEntry(r.value)
			case r.to != 0 && r.to <= v: // a store may remember what it has removed
				c.insertRemoved(r.value)
			}
		}
		if b, _ := d.block(user, v); b > 0 {
			c.inbox(user).blocks = []row[int64]{{value: b, from: c.next()}}
		}
	}
	for key := range d.sessions {
		if s, there := d.session(key, v); there {
			c.putSession(key, s)
		}
	}
	c.synced = c.last
	return c
}
