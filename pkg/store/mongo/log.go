package mongo

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/store"
)

// entryDocument is an entry of an inbox. Its id is made of the message and the inbox, so it is unique by both, on a
// sharded collection too, where all of an inbox is on one shard. The message comes first: what one send writes for all its
// readers then stands side by side in the index, on a page or two. The position is unique by the index on (u, s).
type entryDocument struct {
	ID         string          `bson:"_id"`
	User       string          `bson:"u"`
	Position   int64           `bson:"s"`
	Kind       store.EntryKind `bson:"kind"`
	Message    bson.ObjectID   `bson:"m"`
	Digest     []byte          `bson:"digest"`
	Size       int             `bson:"n,omitempty"`
	WrappedKey string          `bson:"k,omitempty"`
	KeyVersion int             `bson:"kv,omitempty"`
	At         time.Time       `bson:"at"`
	ReadAt     time.Time       `bson:"readAt,omitempty"`
	ExpiresAt  time.Time       `bson:"expiresAt"`
	PurgeAt    time.Time       `bson:"purgeAt"`
}

func entryID(user string, id store.MessageID) string { return id.String() + "/" + user }

func documentOfEntry(e store.Entry) entryDocument {
	return entryDocument{
		ID: entryID(e.User, e.Message), User: e.User, Position: e.Position, Kind: e.Kind, Message: bson.ObjectID(e.Message),
		Digest: e.Digest[:], Size: e.Size, WrappedKey: e.WrappedKey, KeyVersion: e.KeyVersion,
		At: e.At, ReadAt: e.ReadAt, ExpiresAt: e.ExpiresAt, PurgeAt: e.PurgeAt,
	}
}

func (d entryDocument) entry() store.Entry {
	e := store.Entry{
		User: d.User, Position: d.Position, Kind: d.Kind, Message: store.MessageID(d.Message), Size: d.Size, WrappedKey: d.WrappedKey,
		KeyVersion: d.KeyVersion, At: d.At, ReadAt: d.ReadAt, ExpiresAt: d.ExpiresAt, PurgeAt: d.PurgeAt,
	}
	copy(e.Digest[:], d.Digest)
	return e
}

// messageDocument is a message. Its id is the message's.
type messageDocument struct {
	ID               bson.ObjectID `bson:"_id"`
	Sender           string        `bson:"sender"`
	SenderKeyVersion int           `bson:"senderKeyVersion,omitempty"`
	Recipients       []string      `bson:"recipients,omitempty"`
	Content          string        `bson:"content,omitempty"`
	IV               string        `bson:"iv,omitempty"`
	ClientMessageID  string        `bson:"clientMessageId,omitempty"`
	Digest           []byte        `bson:"digest"`
	CreatedAt        time.Time     `bson:"createdAt"`
	// PurgeAt is called expiresAt since the first version, of which it is the moment at which the server removes the document.
	PurgeAt time.Time `bson:"expiresAt"`
	// EraseAt is when the message expires, if that is before PurgeAt.
	EraseAt   time.Time `bson:"eraseAt,omitempty"`
	Tombstone bool      `bson:"tombstone,omitempty"`
	Erased    bool      `bson:"erased,omitempty"`
}

func documentOfMessage(m store.Message) messageDocument {
	d := messageDocument{
		ID: bson.ObjectID(m.ID), Sender: m.Sender, SenderKeyVersion: m.SenderKeyVersion, Recipients: m.Recipients,
		Content: m.Content, IV: m.IV, ClientMessageID: m.ClientMessageID, Digest: m.Digest[:],
		CreatedAt: m.CreatedAt, PurgeAt: m.KeptUntil(), Tombstone: m.Tombstone, Erased: m.Erased,
	}
	if m.ExpiresAt.Before(d.PurgeAt) {
		d.EraseAt = m.ExpiresAt
	}
	return d
}

func (d messageDocument) message() store.Message {
	m := store.Message{
		ID: store.MessageID(d.ID), Sender: d.Sender, SenderKeyVersion: d.SenderKeyVersion, Recipients: d.Recipients,
		Content: d.Content, IV: d.IV, ClientMessageID: d.ClientMessageID,
		CreatedAt: d.CreatedAt, ExpiresAt: d.PurgeAt, PurgeAt: d.PurgeAt, Tombstone: d.Tombstone, Erased: d.Erased,
	}
	if !d.EraseAt.IsZero() {
		m.ExpiresAt = d.EraseAt
	}
	copy(m.Digest[:], d.Digest)
	return m
}

// InsertEntries implements store.Log.
//
// An entry that an earlier call has written without learning of it is refused, and reported as the Existing one.
func (s *Store) InsertEntries(ctx context.Context, entries []store.Entry) ([]store.EntryResult, error) {
	results := make([]store.EntryResult, len(entries))
	if len(entries) == 0 {
		return results, nil
	}
	marks, err := s.marks.prepare(ctx, entries)
	if err != nil {
		return nil, err
	}
	documents := make([]any, 0, len(marks)+len(entries))
	for _, m := range marks { // first: see marks
		documents = append(documents, m)
	}
	for _, e := range entries {
		documents = append(documents, documentOfEntry(e))
	}
	refused, err := insertMany(ctx, s.inbox, documents)
	if err != nil {
		return nil, err
	}
	s.marks.stand(marks, refused[:len(marks)])
	return results, s.explain(ctx, entries, refused[len(marks):], results)
}

// explain finds out why entries were refused.
func (s *Store) explain(ctx context.Context, entries []store.Entry, refused []bool, results []store.EntryResult) error {
	var users, ids []string
	for i, e := range entries {
		if refused[i] {
			users, ids = append(users, e.User), append(ids, entryID(e.User, e.Message))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	held, err := all[entryDocument](ctx, s.inbox, queryHeld(slices.Compact(slices.Sorted(slices.Values(users))), ids))
	if err != nil {
		return err
	}
	existing := make(map[string]store.Entry, len(held))
	for _, d := range held {
		existing[d.ID] = d.entry()
	}
	for i, e := range entries {
		if !refused[i] {
			continue
		}
		if found, ok := existing[entryID(e.User, e.Message)]; ok {
			results[i].Existing = &found
		} else {
			results[i].PositionTaken = true
		}
	}
	return nil
}

// InsertMessages implements store.Log.
func (s *Store) InsertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	written := make([]bool, len(messages))
	if len(messages) == 0 {
		return written, nil
	}
	documents := make([]any, len(messages))
	for i, m := range messages {
		documents[i] = documentOfMessage(m)
	}
	refused, err := insertMany(ctx, s.messages, documents)
	if err != nil {
		return nil, err
	}
	for i := range written {
		written[i] = !refused[i]
	}
	return written, nil
}

// RenewTombstone implements store.Log.
func (s *Store) RenewTombstone(ctx context.Context, id store.MessageID, purgeAt time.Time) error {
	later := bson.D{{Key: "$max", Value: bson.D{{Key: "expiresAt", Value: purgeAt}}}}
	done, err := s.messages.UpdateOne(ctx, bson.D{eq("_id", bson.ObjectID(id)), eq("tombstone", true)}, later)
	if err == nil && done.MatchedCount == 0 {
		return store.ErrNotFound
	}
	return unavailable(err)
}

// Messages implements store.Log.
func (s *Store) Messages(ctx context.Context, ids []store.MessageID) (map[store.MessageID]store.Message, error) {
	messages := make(map[store.MessageID]store.Message, len(ids))
	if len(ids) == 0 {
		return messages, nil
	}
	found, err := all[messageDocument](ctx, s.messages, queryMessages(objectIDs(ids)))
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		messages[store.MessageID(d.ID)] = d.message()
	}
	return messages, nil
}

// MessagesOf implements store.Log.
func (s *Store) MessagesOf(ctx context.Context, entries []store.Entry) (map[store.MessageID]store.Message, error) {
	ids := make([]store.MessageID, len(entries))
	for i, e := range entries {
		ids[i] = e.Message
	}
	return s.Messages(ctx, ids)
}

// Decided implements store.Log.
func (s *Store) Decided(ctx context.Context, ids []store.MessageID) (map[store.MessageID]bool, error) {
	decided := make(map[store.MessageID]bool, len(ids))
	if len(ids) == 0 {
		return decided, nil
	}
	found, err := all[messageDocument](ctx, s.messages, queryDecided(objectIDs(ids)))
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		decided[store.MessageID(d.ID)] = true
	}
	return decided, nil
}

func objectIDs(ids []store.MessageID) []bson.ObjectID {
	list := make([]bson.ObjectID, len(ids))
	for i, id := range ids {
		list[i] = bson.ObjectID(id)
	}
	return list
}

// Entries implements store.Log.
func (s *Store) Entries(ctx context.Context, user string, after, upTo int64) ([]store.Entry, error) {
	found, err := all[entryDocument](ctx, s.inbox, queryEntries(user, after, upTo))
	if err != nil {
		return nil, err
	}
	var entries []store.Entry
	for _, d := range found {
		entries = append(entries, d.entry())
	}
	return entries, nil
}

// firstWindow is how far FirstAfter looks in a bounded range.
const firstWindow = 1024

// FirstAfter implements store.Log. It looks in a bounded range first: not every server can use an index for the order,
// and the answer is mostly near.
func (s *Store) FirstAfter(ctx context.Context, user string, after int64) (int64, error) {
	if after > math.MaxInt64-firstWindow {
		return 0, nil
	}
	after = max(0, after)
	position, err := s.position(ctx, queryFirstWithin(user, after, after+firstWindow))
	if err != nil || position > 0 {
		return position, err
	}
	return s.position(ctx, queryFirst(user, after+firstWindow))
}

// position reads the position of the first entry of a query, 0 if there is none.
func (s *Store) position(ctx context.Context, q query) (int64, error) {
	d, err := first[entryDocument](ctx, s.inbox, q)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return d.Position, err
}

// Entry implements store.Log.
func (s *Store) Entry(ctx context.Context, user string, id store.MessageID) (store.Entry, error) {
	d, err := first[entryDocument](ctx, s.inbox, queryEntry(user, id))
	return d.entry(), err
}

// MarkRead implements store.Log.
func (s *Store) MarkRead(ctx context.Context, user string, id store.MessageID, at time.Time) error {
	unread := slices.Concat(queryEntry(user, id).filter, bson.D{op("readAt", "$exists", false)})
	done, err := s.inbox.UpdateOne(ctx, unread, bson.D{set("readAt", at)})
	if err != nil || done.MatchedCount == 1 {
		return unavailable(err)
	}
	_, err = s.Entry(ctx, user, id)
	return err
}

// receiptsQuery is how many entries one query of Receipts names at most.
const receiptsQuery = 1024

// Receipts implements store.Log.
func (s *Store) Receipts(ctx context.Context, wanted map[store.MessageID][]string) ([]store.ReadReceipt, error) {
	type asked struct{ user, entry string }
	var list []asked
	for id, users := range wanted {
		for _, user := range users {
			list = append(list, asked{user, entryID(user, id)})
		}
	}
	chunks := slices.Collect(slices.Chunk(list, receiptsQuery))
	found := make([][]entryDocument, len(chunks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(queriesAtOnce)
	for i, chunk := range chunks {
		group.Go(func() (err error) {
			users, entries := make([]string, len(chunk)), make([]string, len(chunk))
			for i, a := range chunk {
				users[i], entries[i] = a.user, a.entry
			}
			found[i], err = all[entryDocument](ctx, s.inbox, queryReceipts(slices.Compact(slices.Sorted(slices.Values(users))), entries))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var receipts []store.ReadReceipt
	for _, d := range slices.Concat(found...) {
		receipts = append(receipts, store.ReadReceipt{Message: store.MessageID(d.Message), User: d.User, ReadAt: d.ReadAt})
	}
	return receipts, nil
}
