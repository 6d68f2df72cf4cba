package mongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

// query is a query of a request path. All of them are made here, and a test asks the server how it would run each.
type query struct {
	filter     bson.D
	sort       bson.D
	limit      int64
	projection bson.D
	// batch is how many documents are expected, so that they come in one answer.
	batch int
}

func (q query) options() *options.FindOptionsBuilder {
	o := options.Find()
	if q.sort != nil {
		o.SetSort(q.sort)
	}
	if q.limit > 0 {
		o.SetLimit(q.limit)
	}
	if q.projection != nil {
		o.SetProjection(q.projection)
	}
	if q.batch > 0 {
		o.SetBatchSize(int32(min(q.batch, maxBatch)))
	}
	return o
}

// maxBatch bounds the documents of one answer; the server bounds its bytes.
const maxBatch = 10_000

func eq(field string, value any) bson.E { return bson.E{Key: field, Value: value} }

func op(field, operator string, value any) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: operator, Value: value}}}
}

// between is after < s <= upTo. Positions are positive; marks are none.
func between(after, upTo int64) bson.E {
	return bson.E{Key: "s", Value: bson.D{{Key: "$gt", Value: max(0, after)}, {Key: "$lte", Value: upTo}}}
}

func fields(names ...string) bson.D {
	d := bson.D{}
	for _, n := range names {
		d = append(d, bson.E{Key: n, Value: 1})
	}
	return d
}

func byID(id any) query { return query{filter: bson.D{eq("_id", id)}} }

func queryEntries(user string, after, upTo int64) query {
	return query{filter: bson.D{eq("u", user), between(after, upTo)}, sort: ascending("s"), batch: int(min(upTo-after+1, maxBatch))}
}

// queryFirstWithin finds the lowest position in a range.
func queryFirstWithin(user string, after, upTo int64) query {
	return query{filter: bson.D{eq("u", user), between(after, upTo)}, sort: ascending("s"), projection: fields("s")}
}

func queryFirst(user string, after int64) query {
	return query{filter: bson.D{eq("u", user), op("s", "$gt", max(0, after))}, sort: ascending("s"), projection: fields("s")}
}

// queryMarks finds the marks of inboxes, those of an earlier version included.
func queryMarks(users []string) query {
	named := op("u", "$in", users)
	return query{
		filter:     bson.D{{Key: "$or", Value: bson.A{bson.D{named, op("s", "$gte", "")}, bson.D{named, op("s", "$lt", 0)}}}},
		projection: fields("u", "s", "at"), batch: 2 * len(users),
	}
}

// surpassedBy matches the marks of an inbox that the one of a block stands in for.
func surpassedBy(user string, b block) bson.D {
	earlier := bson.E{Key: "s", Value: bson.D{{Key: "$gte", Value: -(b.before() / earlierBlockSize)}, {Key: "$lt", Value: 0}}}
	return bson.D{{Key: "$or", Value: bson.A{bson.D{eq("u", user), op("s", "$lt", b.key())}, bson.D{eq("u", user), earlier}}}}
}

// lastAbove finds the last entry of each inbox above the beginning of its marked block, and the last that is young (see lastEntry).
func lastAbove(users []string, marks map[string]mark, now time.Time) bson.A {
	above := make(bson.A, len(users))
	for i, user := range users {
		above[i] = bson.D{eq("u", user), op("s", "$gt", marks[user].before)}
	}
	operator := func(name string, arguments ...any) bson.D { return bson.D{eq(name, bson.A(arguments))} }
	left, gone := operator("$subtract", "$purgeAt", now), operator("$subtract", now, "$at")
	young := operator("$and", operator("$gt", left, (10*time.Minute).Milliseconds()),
		operator("$or", operator("$gt", left, gone), operator("$gt", left, (24*time.Hour).Milliseconds())))
	return bson.A{
		bson.D{{Key: "$match", Value: bson.D{{Key: "$or", Value: above}}}},
		bson.D{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: "$u"}, {Key: "s", Value: bson.D{{Key: "$max", Value: "$s"}}},
			{Key: "young", Value: bson.D{{Key: "$max", Value: operator("$cond", young, "$s", int64(0))}}},
		}}},
	}
}

// queryHeld finds the entries that inboxes hold for messages: one for each pair, by its id. It names the users for the
// sake of a sharded collection.
func queryHeld(users, entryIDs []string) query {
	return query{filter: bson.D{op("u", "$in", users), op("_id", "$in", entryIDs)}, batch: len(entryIDs)}
}

func queryReceipts(users, entryIDs []string) query {
	q := queryHeld(users, entryIDs)
	q.filter = append(q.filter, op("readAt", "$exists", true))
	q.projection = fields("u", "m", "readAt")
	return q
}

// queryEntry is also the filter of updates: it is one document.
func queryEntry(user string, id store.MessageID) query {
	return query{filter: bson.D{eq("u", user), eq("_id", entryID(user, id))}}
}

func queryMessages(ids []bson.ObjectID) query {
	return query{filter: bson.D{op("_id", "$in", ids)}, batch: len(ids)}
}

func queryDecided(ids []bson.ObjectID) query {
	q := queryMessages(ids)
	q.projection = fields("_id")
	return q
}

// queryErasable finds messages that have expired and still hold their content.
func queryErasable(now time.Time, limit int) query {
	past := bson.E{Key: "eraseAt", Value: bson.D{{Key: "$exists", Value: true}, {Key: "$lte", Value: now}}} // the index is of those that have it
	return query{filter: bson.D{past, op(contentField, "$exists", true)}, limit: int64(limit), projection: fields("_id"), batch: limit}
}

func queryArchive(name string, below int) query {
	return query{filter: bson.D{eq("u", name), op("v", "$lt", below)}, sort: ascending("v"), batch: below}
}

func queryDirectory(after string, limit int) query {
	return query{filter: bson.D{op("_id", "$gt", after)}, sort: ascending("_id"), limit: int64(limit), projection: fields("name", "key"), batch: limit}
}

func queryVersions(names []string) query {
	return query{filter: bson.D{op("_id", "$in", names)}, projection: fields("name", "key.v"), batch: len(names)}
}

func queryCursors(name, sessionID string) query {
	return query{filter: bson.D{op("_id", "$in", []string{name, sessionKey(name, sessionID)})}}
}

// due is what has passed its time at a moment: see purging.
func due(field string, now time.Time) bson.D { return bson.D{op(field, "$lte", now)} }
