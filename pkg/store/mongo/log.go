package mongo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/store"
)

// entryDocument is an entry of an inbox. Its id is its place, so a position is written only once, even on a sharded collection. The index
// of _id, which every collection has, serves all queries of an inbox.
type entryDocument struct {
	ID string `bson:"_id"`
	// User and Position repeat the id.
	User       string          `bson:"u"`
	Position   int64           `bson:"s"`
	Kind       store.EntryKind `bson:"kind"`
	Message    bson.ObjectID   `bson:"m"`
	Size       int             `bson:"n,omitempty"`
	WrappedKey string          `bson:"k,omitempty"`
	KeyVersion int             `bson:"kv,omitempty"`
	At         time.Time       `bson:"at"`
	ReadAt     time.Time       `bson:"readAt,omitempty"`
	ExpiresAt  time.Time       `bson:"expiresAt"`
	PurgeAt    time.Time       `bson:"purgeAt"`
}

// placeID is the id of the entry at a position. As strings, the ids of an inbox sort like its positions. They do not begin with
// another user's: names contain no slash.
func placeID(user string, position int64) string {
	return fmt.Sprintf("%s/%016x", user, max(0, position)) // positions of entries are positive
}

func placeIDs(places []store.Place) []string {
	ids := make([]string, len(places))
	for i, p := range places {
		ids[i] = placeID(p.User, p.Position)
	}
	return ids
}

func documentOfEntry(e store.Entry) entryDocument {
	return entryDocument{
		ID: placeID(e.User, e.Position), User: e.User, Position: e.Position, Kind: e.Kind, Message: bson.ObjectID(e.Message),
		Size: e.Size, WrappedKey: e.WrappedKey, KeyVersion: e.KeyVersion,
		At: e.At, ReadAt: e.ReadAt, ExpiresAt: e.ExpiresAt, PurgeAt: e.PurgeAt,
	}
}

func (d entryDocument) entry() store.Entry {
	return store.Entry{
		User: d.User, Position: d.Position, Kind: d.Kind, Message: store.MessageID(d.Message), Size: d.Size, WrappedKey: d.WrappedKey,
		KeyVersion: d.KeyVersion, At: d.At, ReadAt: d.ReadAt, ExpiresAt: d.ExpiresAt, PurgeAt: d.PurgeAt,
	}
}

func entriesOf(found []entryDocument) []store.Entry {
	var entries []store.Entry
	for _, d := range found {
		entries = append(entries, d.entry())
	}
	return entries
}

// messageDocument is a message, under its id.
type messageDocument struct {
	ID               bson.ObjectID `bson:"_id"`
	Sender           string        `bson:"sender"`
	SenderKeyVersion int           `bson:"senderKeyVersion,omitempty"`
	Recipients       []string      `bson:"recipients,omitempty"`
	// Positions are the positions of the entries, as varints: an array would take 12 bytes or more for each.
	Positions       []byte    `bson:"p,omitempty"`
	Content         string    `bson:"content,omitempty"`
	IV              string    `bson:"iv,omitempty"`
	ClientMessageID string    `bson:"clientMessageId,omitempty"`
	Digest          []byte    `bson:"digest"`
	CreatedAt       time.Time `bson:"createdAt"`
	// PurgeAt is when the server removes the document: the field of the TTL index.
	PurgeAt time.Time `bson:"expiresAt"`
	// EraseAt is when the message expires, if before PurgeAt.
	EraseAt   time.Time `bson:"eraseAt,omitempty"`
	Tombstone bool      `bson:"tombstone,omitempty"`
	Erased    bool      `bson:"erased,omitempty"`
}

func documentOfMessage(m store.Message) messageDocument {
	d := messageDocument{
		ID: bson.ObjectID(m.ID), Sender: m.Sender, SenderKeyVersion: m.SenderKeyVersion, Recipients: m.Recipients, Positions: packed(m.Positions),
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
		ID: store.MessageID(d.ID), Sender: d.Sender, SenderKeyVersion: d.SenderKeyVersion, Recipients: d.Recipients, Positions: unpacked(d.Positions),
		Content: d.Content, IV: d.IV, ClientMessageID: d.ClientMessageID,
		CreatedAt: d.CreatedAt, ExpiresAt: d.PurgeAt, PurgeAt: d.PurgeAt, Tombstone: d.Tombstone, Erased: d.Erased,
	}
	if !d.EraseAt.IsZero() {
		m.ExpiresAt = d.EraseAt
	}
	copy(m.Digest[:], d.Digest)
	return m
}

// packed encodes positions as unsigned varints; nil for none.
func packed(positions []int64) []byte {
	var b []byte
	for _, p := range positions {
		b = binary.AppendUvarint(b, uint64(p))
	}
	return b
}

func unpacked(b []byte) []int64 {
	var positions []int64
	for len(b) > 0 {
		p, n := binary.Uvarint(b)
		if n <= 0 {
			break // the message names no more places, so entries there do not count
		}
		positions, b = append(positions, int64(p)), b[n:]
	}
	return positions
}

// InsertEntries implements store.Log.
//
// An entry is refused even if an earlier call wrote it without learning of that, or if this call did and tries again after an error (see
// insertMany). Nothing is lost: no message names such a place.
func (s *Store) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	if len(entries) == 0 {
		return nil, nil
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
	s.marks.recordWritten(marks, refused[:len(marks)])
	return inverse(refused[len(marks):]), nil
}

// inverse turns refused into written.
func inverse(refused []bool) []bool {
	written := make([]bool, len(refused))
	for i := range refused {
		written[i] = !refused[i]
	}
	return written
}

// InsertMessages implements store.Log.
func (s *Store) InsertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	documents := make([]any, len(messages))
	for i, m := range messages {
		documents[i] = documentOfMessage(m)
	}
	refused, err := insertMany(ctx, s.messages, documents)
	return inverse(refused), err
}

// Keep implements store.Log.
func (s *Store) Keep(ctx context.Context, m store.Message, until time.Time) error {
	done, err := s.messages.UpdateOne(ctx, queryStanding(m).filter, keeping(m, until))
	if err == nil && done.MatchedCount == 0 {
		return store.ErrNotFound
	}
	return unavailable(err)
}

// keeping is the update that extends how long a message's id is kept. If the content would have been removed with the message, the update
// sets when it is erased.
func keeping(m store.Message, until time.Time) bson.D {
	update := bson.D{{Key: "$max", Value: bson.D{eq("expiresAt", until)}}}
	if !m.Tombstone && !m.Erased {
		update = append(update, bson.E{Key: "$min", Value: bson.D{eq("eraseAt", m.ExpiresAt)}})
	}
	return update
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
func (s *Store) Decided(ctx context.Context, ids []store.MessageID) (map[store.MessageID]time.Time, error) {
	decided := make(map[store.MessageID]time.Time, len(ids))
	if len(ids) == 0 {
		return decided, nil
	}
	found, err := all[messageDocument](ctx, s.messages, queryDecided(objectIDs(ids)))
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		decided[store.MessageID(d.ID)] = d.PurgeAt
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
	return entriesOf(found), err
}

// EntriesAt implements store.Log.
func (s *Store) EntriesAt(ctx context.Context, places []store.Place) ([]store.Entry, error) {
	found, err := byIDs[entryDocument](ctx, s.inbox, placeIDs(places), queryIDs)
	return entriesOf(found), err
}

// idsQuery is the most ids in one query.
const idsQuery = 1024

// byIDs reads documents by id, with several queries at once if there are many ids.
func byIDs[T any](ctx context.Context, c *driver.Collection, ids []string, ask func(ids []string) query) ([]T, error) {
	chunks := slices.Collect(slices.Chunk(ids, idsQuery))
	found := make([][]T, len(chunks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(queriesAtOnce)
	for i, ids := range chunks {
		group.Go(func() (err error) {
			found[i], err = all[T](ctx, c, ask(ids))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// FirstAfter implements store.Log.
func (s *Store) FirstAfter(ctx context.Context, user string, after int64) (int64, error) {
	d, err := first[entryDocument](ctx, s.inbox, queryFirst(user, after))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return d.Position, err
}

// MarkRead implements store.Log.
func (s *Store) MarkRead(ctx context.Context, place store.Place, at time.Time) error {
	entry := byID(placeID(place.User, place.Position))
	unread := slices.Concat(entry.filter, bson.D{op("readAt", "$exists", false)})
	done, err := s.inbox.UpdateOne(ctx, unread, bson.D{set("readAt", at)})
	if err != nil || done.MatchedCount == 1 {
		return unavailable(err)
	}
	entry.projection = fields("_id")
	_, err = first[entryDocument](ctx, s.inbox, entry) // it has been read before, or does not exist
	return err
}

// Receipts implements store.Log.
func (s *Store) Receipts(ctx context.Context, places []store.Place) (map[store.Place]time.Time, error) {
	found, err := byIDs[entryDocument](ctx, s.inbox, placeIDs(places), queryReceipts)
	if err != nil {
		return nil, err
	}
	receipts := make(map[store.Place]time.Time, len(found))
	for _, d := range found {
		receipts[store.Place{User: d.User, Position: d.Position}] = d.ReadAt
	}
	return receipts, nil
}
