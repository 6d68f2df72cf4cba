package mongo

import (
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

// query is a query of a request path. All are built here, and a test asks the server for the plan of each.
type query struct {
	filter     bson.D
	sort       bson.D
	limit      int64
	projection bson.D
	// batch is the expected number of documents, so that they come in one reply.
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

// maxBatch bounds the documents of one reply; the server bounds its bytes.
const maxBatch = 10_000

func eq(field string, value any) bson.E { return bson.E{Key: field, Value: value} }

func op(field, operator string, value any) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: operator, Value: value}}}
}

// between matches after < position <= upTo of an inbox.
func between(user string, after, upTo int64) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: placeID(user, after)}, {Key: "$lte", Value: placeID(user, upTo)}}}}
}

func fields(names ...string) bson.D {
	d := bson.D{}
	for _, n := range names {
		d = append(d, bson.E{Key: n, Value: 1})
	}
	return d
}

func byID(id any) query { return query{filter: bson.D{eq("_id", id)}} }

func queryIDs(ids []string) query {
	return query{filter: bson.D{op("_id", "$in", ids)}, batch: len(ids)}
}

func queryEntries(user string, after, upTo int64) query {
	return query{filter: between(user, after, upTo), sort: ascending("_id"), batch: int(min(upTo-after+1, maxBatch))}
}

func queryFirst(user string, after int64) query {
	return query{filter: between(user, after, math.MaxInt64), sort: ascending("_id"), projection: fields("s")}
}

// queryLast finds the last entry of an inbox above a position.
func queryLast(user string, after int64) query {
	return query{filter: between(user, after, math.MaxInt64), sort: descending("_id"), limit: 1, projection: fields("u", "s", "at", "purgeAt")}
}

// marksBelow matches the marks of an inbox below block b.
func marksBelow(user string, b block) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: markID(user, 0)}, {Key: "$lt", Value: markID(user, b)}}}}
}

func queryHighestMark(user string) query {
	return query{filter: marksBelow(user, math.MaxInt64), sort: descending("_id"), limit: 1}
}

func queryMarks(ids []string) query {
	q := queryIDs(ids)
	q.projection = fields("_id")
	return q
}

func queryReceipts(ids []string) query {
	q := queryIDs(ids)
	q.filter = append(q.filter, op("readAt", "$exists", true))
	q.projection = fields("u", "s", "readAt")
	return q
}

// stages returns the query as pipeline stages.
func (q query) stages() bson.A {
	stages := bson.A{bson.D{eq("$match", q.filter)}}
	if q.sort != nil {
		stages = append(stages, bson.D{eq("$sort", q.sort)})
	}
	if q.limit > 0 {
		stages = append(stages, bson.D{eq("$limit", q.limit)})
	}
	if q.projection != nil {
		stages = append(stages, bson.D{eq("$project", q.projection)})
	}
	return stages
}

// union returns a pipeline that runs several queries on a collection in one command. Not every server can use an index for each branch of
// an $or.
func union(collection string, queries []query) bson.A {
	pipeline := queries[0].stages()
	for _, q := range queries[1:] {
		pipeline = append(pipeline, bson.D{eq("$unionWith", bson.D{eq("coll", collection), eq("pipeline", q.stages())})})
	}
	return pipeline
}

func queryMessages(ids []bson.ObjectID) query {
	return query{filter: bson.D{op("_id", "$in", ids)}, batch: len(ids)}
}

// queryStanding finds a message that was read, if it still exists: after a purge, another may have its id.
func queryStanding(m store.Message) query {
	q := byID(bson.ObjectID(m.ID))
	q.filter = append(q.filter, eq("createdAt", m.CreatedAt), op("tombstone", "$exists", m.Tombstone))
	return q
}

func queryDecided(ids []bson.ObjectID) query {
	q := queryMessages(ids)
	q.projection = fields("expiresAt")
	return q
}

// queryErasable finds expired messages that still have their content.
func queryErasable(now time.Time, limit int) query {
	past := bson.E{Key: "eraseAt", Value: bson.D{{Key: "$exists", Value: true}, {Key: "$lte", Value: now}}} // the index has only those
	return query{filter: bson.D{past, op(contentField, "$exists", true)}, limit: int64(limit), projection: fields("_id"), batch: limit}
}

// queryArchive matches a user's former keys of the versions first <= v < below: by the size of the range, a page.
func queryArchive(name string, first, below int) query {
	versions := bson.E{Key: "v", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lt", Value: below}}}
	return query{filter: bson.D{eq("u", name), versions}, sort: ascending("v"), batch: below - first}
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

// due matches documents whose time has passed: see purging.
func due(field string, now time.Time) bson.D { return bson.D{op(field, "$lte", now)} }
