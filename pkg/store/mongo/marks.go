package mongo

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

// marks remember how far each inbox has come, even after expiry has removed all its entries: a position must never be given to a second
// message, because a client's cursor may be on it.
//
// Positions are divided into blocks. No entry is written into a block unless that block, or a higher one, is marked. A mark is a document
// of the inbox collection that does not expire. Like an entry it is written once.
//
// The first writer in a block usually writes its first position. The mark then goes into the same bulk insert, before the entry, without
// another round trip. Later writers that do not know the mark query for all marks that their bulk insert needs, and write missing ones
// before the entries: the first writer may have died. So refused marks do not delay entries; a server may split a bulk insert with a
// refusal into single documents.
type marks struct {
	inbox *driver.Collection
	// inboxLast is inbox for reads that must not be stale.
	inboxLast *driver.Collection
	known     *blocks
	// now is the clock for the age of marks.
	now func() time.Time

	// cleaning is held by the background removal of marks; at most one runs.
	cleaning chan struct{}
	running  sync.WaitGroup
}

// blockSize is the number of positions of a block. The tail may be reported too high by up to that many: if an inbox has lost all its
// entries, or its block was marked a while ago by a writer that died before it wrote an entry.
const blockSize = 128

// block is the number of a block. Block 1 has the positions 1 … blockSize.
type block int64

func blockOf(position int64) block { return block((position-1)/blockSize + 1) }

// before is the position before the block's first; end is its last.
func (b block) before() int64 { return (int64(b) - 1) * blockSize }
func (b block) end() int64    { return int64(b) * blockSize }

// key is stored in a mark in place of a position. As a string it is in no range of positions.
func (b block) key() string { return fmt.Sprintf("%016x", int64(b)) }

// markDocument marks a block of an inbox.
type markDocument struct {
	ID   string `bson:"_id"`
	User string `bson:"u"`
	Key  string `bson:"s"`
	// At is the writer's clock: by then all positions below the block had been handed out.
	At time.Time `bson:"at"`
	// Until is when the entry for which the mark was written is purged.
	Until time.Time `bson:"until"`
}

// markID is the id of a mark. No entry has such an id: marks sort after all positions of their inbox, in the order of the blocks.
func markID(user string, b block) string { return user + "/mark-" + b.key() }

func markOf(user string, b block, at, until time.Time) markDocument {
	return markDocument{ID: markID(user, b), User: user, Key: b.key(), At: at, Until: until}
}

func (d markDocument) block() (block, error) {
	number, err := strconv.ParseInt(d.Key, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: a mark of %s bears %s", store.ErrUnavailable, d.User, d.Key)
	}
	return block(number), nil
}

// mark is an existing mark. Its entries are above before.
type mark struct {
	before, end int64
	at, until   time.Time
}

// tail is the tail of an inbox whose marked block has no entry. Soon after the mark was written, its entry may not be there yet: a server
// applies a bulk insert piece by piece, the mark first. If the tail were the block's end then, a counter would be raised to it, and readers
// would have to wait for every position skipped. Later the entries may have been removed.
func (m mark) tail(now time.Time) int64 {
	if now.Sub(m.at) < nearEnd && m.until.Sub(now) > nearEnd {
		return m.before
	}
	return m.end
}

// cleanTimeout bounds the removal of marks below a higher one.
const cleanTimeout = 5 * time.Second

func newMarks(inbox, inboxLast *driver.Collection) *marks {
	return &marks{inbox: inbox, inboxLast: inboxLast, known: newBlocks(knownInboxes), now: time.Now, cleaning: make(chan struct{}, 1)}
}

// highest returns the highest mark of each inbox that has one.
func (m *marks) highest(ctx context.Context, users []string) (map[string]mark, error) {
	queries := make([]query, len(users))
	for i, user := range users {
		queries[i] = queryHighestMark(user)
	}
	found, err := unions[markDocument](ctx, m.inboxLast, queries)
	if err != nil {
		return nil, err
	}
	highest := make(map[string]mark, len(users))
	for _, d := range found {
		b, err := d.block()
		if err != nil {
			return nil, err
		}
		highest[d.User] = mark{before: b.before(), end: b.end(), at: d.At, until: d.Until}
		m.known.raise(d.User, b)
	}
	return highest, nil
}

// prepare ensures that entries may be written: the marks they need exist, except for those returned, which the caller inserts before the
// entries in the same bulk insert. An inbox only needs a mark of its highest block, which covers the blocks below.
func (m *marks) prepare(ctx context.Context, entries []store.Entry) (together []markDocument, err error) {
	var doubtful []markDocument
	for user, n := range m.unknown(entries) {
		if n.first {
			together = append(together, markOf(user, n.block, n.at, n.until))
		} else {
			doubtful = append(doubtful, markOf(user, n.block, n.at, n.until))
		}
	}
	missing, err := m.missing(ctx, doubtful)
	if err != nil {
		return nil, err
	}
	// Others may write the same marks. If all use the same order, they wait for each other in turn. Otherwise a server that locks unique
	// keys detects a deadlock, after a second in which neither makes progress.
	sortMarks(together)
	sortMarks(missing)
	return together, m.insert(ctx, missing)
}

func sortMarks(list []markDocument) {
	slices.SortFunc(list, func(a, b markDocument) int { return strings.Compare(a.ID, b.ID) })
}

// missing returns the marks that do not exist, by id. A mark that was removed because of a higher one counts as missing: it is written
// again, does no harm below the higher one, and is removed with it.
func (m *marks) missing(ctx context.Context, list []markDocument) ([]markDocument, error) {
	ids := make([]string, len(list))
	for i, d := range list {
		ids[i] = d.ID
	}
	found, err := byIDs[markDocument](ctx, m.inbox, ids, queryMarks)
	if err != nil {
		return nil, err
	}
	standing := make(map[string]bool, len(found))
	for _, d := range found {
		standing[d.ID] = true
	}
	var missing []markDocument
	for _, d := range list {
		if !standing[d.ID] {
			missing = append(missing, d)
			continue
		}
		b, _ := d.block() // a mark made here
		m.known.raise(d.User, b)
	}
	return missing, nil
}

// need is a mark that is not known to exist.
type need struct {
	block     block
	at, until time.Time
	// first: the block's first position is among the entries.
	first bool
}

// unknown returns the marks that entries need and that are not known to exist.
func (m *marks) unknown(entries []store.Entry) map[string]need {
	var needed map[string]need
	for i := range entries {
		e := &entries[i]
		b := blockOf(e.Position)
		n, listed := needed[e.User]
		if b < n.block || (!listed && m.known.get(e.User) >= b) {
			continue
		}
		if b > n.block {
			n = need{block: b, at: e.At, until: e.PurgeAt}
		}
		n.first = n.first || e.Position == b.before()+1
		if needed == nil {
			needed = map[string]need{}
		}
		needed[e.User] = n
	}
	return needed
}

func (m *marks) insert(ctx context.Context, list []markDocument) error {
	if len(list) == 0 {
		return nil
	}
	documents := make([]any, len(list))
	for i, d := range list {
		documents[i] = d
	}
	refused, err := insertMany(ctx, m.inbox, documents)
	if err == nil {
		m.recordWritten(list, refused)
	}
	return err
}

// recordWritten records that marks exist, including those refused as existing, and removes the marks below new ones.
func (m *marks) recordWritten(list []markDocument, refused []bool) {
	var obsolete []driver.WriteModel
	for i, d := range list {
		b, _ := d.block() // a mark made here
		m.known.raise(d.User, b)
		if !refused[i] && b > 1 {
			obsolete = append(obsolete, driver.NewDeleteManyModel().SetFilter(marksBelow(d.User, b)))
		}
	}
	if len(obsolete) > 0 {
		m.clean(obsolete)
	}
}

// clean removes marks in the background, unless a removal is running. What is left is removed with the inbox's next mark.
func (m *marks) clean(surpassed []driver.WriteModel) {
	select {
	case m.cleaning <- struct{}{}:
	default:
		return
	}
	m.running.Go(func() {
		defer func() { <-m.cleaning }()
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		_, _ = m.inbox.BulkWrite(ctx, surpassed, options.BulkWrite().SetOrdered(false))
	})
}

// stop waits for the background removal, and prevents further ones.
func (m *marks) stop() {
	m.cleaning <- struct{}{}
	m.running.Wait()
}
