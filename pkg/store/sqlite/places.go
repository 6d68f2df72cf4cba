package sqlite

import (
	"context"
	"maps"
	"slices"

	"github.com/sealpost/sealpost/pkg/store"
)

// places hands out the row numbers of messages. A message gets its number when its first entry is prepared, so that the entries
// can keep it, and uses it when it is committed. Numbers rise: messages that come together lie together.
//
// What an entry keeps is a hint, and nothing depends on it: whoever follows it looks whether the message there is the right one,
// and else searches by id. It is wrong where a message was committed after a restart or in another attempt than its entry.
//
// The writer's turn guards it.
type places struct {
	last int64
	// prepared are those of messages with entries that are not committed yet.
	prepared map[store.MessageID]int64
}

// maxPrepared bounds what sends that were given up leave behind. Above it all is forgotten.
const maxPrepared = 1 << 16

// of returns a message's number, a new one unless an entry of it has been prepared.
func (p *places) of(id store.MessageID) int64 {
	place, known := p.prepared[id]
	if !known {
		p.last++
		place = p.last
	}
	return place
}

// prepare is of, for an entry: the number is kept for the message.
func (p *places) prepare(id store.MessageID) int64 {
	place := p.of(id)
	if p.prepared == nil || len(p.prepared) >= maxPrepared {
		p.prepared = make(map[store.MessageID]int64)
	}
	p.prepared[id] = place
	return place
}

// committed forgets the numbers of messages that have them.
func (p *places) committed(messages []store.Message) {
	for _, m := range messages {
		delete(p.prepared, m.ID)
	}
}

// MessagesOf implements store.Log.
func (s *Store) MessagesOf(ctx context.Context, entries []store.Entry) (map[store.MessageID]store.Message, error) {
	found := make(map[store.MessageID]store.Message, len(entries))
	hints := make([]int64, len(entries))
	wanted := make(map[store.MessageID]struct{}, len(entries))
	for i, e := range entries {
		hints[i] = e.Place
		wanted[e.Message] = struct{}{}
	}
	messages, err := all(ctx, s, query{operation: "messages", stmt: s.stmts.messagesAt, args: []any{list(hints)}, expected: len(entries)}, scanMessage)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if _, right := wanted[m.ID]; right {
			found[m.ID] = m
			delete(wanted, m.ID)
		}
	}
	if len(wanted) == 0 {
		return found, nil
	}
	others, err := s.Messages(ctx, slices.Collect(maps.Keys(wanted)))
	if err != nil {
		return nil, err
	}
	maps.Copy(found, others)
	return found, nil
}
