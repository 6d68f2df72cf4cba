package mongo

import (
	"context"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

// marks remember how far each inbox has come, for the time when expiry has removed all its entries: a position must
// never be given to a second message, because a client's cursor may stand on it.
//
// Positions are divided into blocks. No entry is written into a block that is not marked. A mark is a document of the
// inbox collection that does not expire, at the negative of the block's number: so it is written once, like an entry,
// by whoever comes first into the block, in the bulk insert that writes the entry and before it. A mark costs no round
// trip, and one document in blockSize.
type marks struct {
	inbox *driver.Collection
	// known holds the highest block of an inbox that this process knows to be marked. Forgetting it costs one document
	// that is refused.
	known *lru.Cache[string, block]

	// cleaning is held by the one removal of marks that may run in the background.
	cleaning chan struct{}
	running  sync.WaitGroup
}

// blockSize is how many positions a block has: the tail of an inbox that has lost all its entries is given as up to
// so many positions too high.
const blockSize = 1024

// block is the number of a block, from 1: that of the positions 1 … blockSize.
type block int64

func blockOf(position int64) block { return block((position-1)/blockSize + 1) }

// before is the position before the block's first, end its last.
func (b block) before() int64 { return (int64(b) - 1) * blockSize }
func (b block) end() int64    { return int64(b) * blockSize }

// markDocument marks a block of an inbox.
type markDocument struct {
	ID    string `bson:"_id"`
	User  string `bson:"u"`
	Block block  `bson:"s"` // negative
}

func markOf(user string, b block) markDocument {
	// No entry has this id: a name has no dash.
	return markDocument{ID: fmt.Sprintf("%s/block-%d", user, b), User: user, Block: -b}
}

const (
	// knownInboxes bounds the memory of a process.
	knownInboxes = 1 << 16
	// cleanTimeout bounds removing marks that a higher one stands in for.
	cleanTimeout = 5 * time.Second
)

func newMarks(inbox *driver.Collection) *marks {
	known, err := lru.New[string, block](knownInboxes)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &marks{inbox: inbox, known: known, cleaning: make(chan struct{}, 1)}
}

// missing makes the marks that entries need and that are not known to stand: at most one for an inbox, that of its
// highest block, since a mark covers the blocks below.
func (m *marks) missing(entries []store.Entry) []markDocument {
	highest := map[string]block{}
	var users []string
	for _, e := range entries {
		b := blockOf(e.Position)
		if known, ok := m.known.Get(e.User); ok && known >= b {
			continue
		}
		if highest[e.User] == 0 {
			users = append(users, e.User)
		}
		highest[e.User] = max(highest[e.User], b)
	}
	list := make([]markDocument, len(users))
	for i, user := range users {
		list[i] = markOf(user, highest[user])
	}
	return list
}

// stand notes that marks stand, those that were refused because they stood before included, and has the ones below
// those that are new removed.
func (m *marks) stand(list []markDocument, refused []bool) {
	var surpassed []driver.WriteModel
	for i, mark := range list {
		if known, ok := m.known.Peek(mark.User); !ok || known < -mark.Block {
			m.known.Add(mark.User, -mark.Block)
		}
		if !refused[i] && mark.Block < -1 {
			surpassed = append(surpassed, driver.NewDeleteManyModel().SetFilter(
				bson.D{eq("u", mark.User), bson.E{Key: "s", Value: bson.D{{Key: "$gt", Value: mark.Block}, {Key: "$lt", Value: 0}}}}))
		}
	}
	if len(surpassed) > 0 {
		m.clean(surpassed)
	}
}

// clean removes marks in the background, unless it is at it. What is left out goes when the inbox has its next mark.
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

// stop waits for what runs in the background, and lets nothing more start.
func (m *marks) stop() {
	m.cleaning <- struct{}{}
	m.running.Wait()
}
