package mongo

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/storetest"
)

// TestEveryQueryUsesAnIndex asks the server for the plan of each query of the contract suite, updates and removals included, on collections
// so large that an index is worthwhile.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	queries := recordQueries(t)
	db := filled(t)
	names := map[string]bool{}
	for _, shape := range slices.Sorted(maps.Keys(queries)) {
		q := queries[shape]
		names[q.collection] = true
		plan := explain(t, db, q)
		require.False(t, scans(plan), "%s reads the whole collection:\n%s", shape, plan)
		require.NotEmpty(t, indexesOf(plan), "no index is named in the plan of %s:\n%s", shape, plan)
		if q.collection == "inbox" {
			require.False(t, sorts(plan), "the index has the order, but not for %s:\n%s", shape, plan)
		}
		t.Logf("%s: by %v", shape, slices.Compact(indexesOf(plan)))
	}
	require.Len(t, names, 6, "queries of every collection were seen")
	scan := explain(t, db, recorded{collection: "messages", filter: raw(bson.D{eq("nowhere", 1)})})
	require.True(t, scans(scan), "a scan is told as one:\n%s", scan)
	stages := union("inbox", []query{queryHighestMark("user1"), {filter: bson.D{eq("nowhere", 1)}}, queryHighestMark("user2")})
	pipeline := raw(bson.D{eq("pipeline", stages)}).Lookup("pipeline")
	scan = explain(t, db, recorded{collection: "inbox", pipeline: pipeline})
	require.True(t, scans(scan), "and so is one among others:\n%s", scan)
}

// recorded is a query as it was sent.
type recorded struct {
	collection   string
	filter, sort bson.Raw
	limit        int64
	// pipeline is the whole aggregation; filter is its first stage.
	pipeline bson.RawValue
}

// recordQueries returns the store's queries in the contract suite, one of each shape.
func recordQueries(t *testing.T) map[string]recorded {
	t.Helper()
	var mu sync.Mutex
	queries := map[string]recorded{}
	cfg := planDatabase(t)
	cfg.sent = func(e *event.CommandStartedEvent) {
		for _, q := range queriesOf(e) {
			mu.Lock()
			shape := fmt.Sprint(e.CommandName, " ", q.collection, " ", shapeOf(q.filter), " sort ", shapeOf(q.sort))
			if known := queries[shape]; len(q.filter)+len(q.pipeline.Value) >= len(known.filter)+len(known.pipeline.Value) {
				queries[shape] = q // keep the largest
			}
			mu.Unlock()
		}
	}
	var names sync.Map // database names
	open := func(t *testing.T, database string) store.Store {
		cfg := cfg // the contract's tests run in parallel
		cfg.Database = database
		s, err := Open(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		names.Store(s, database)
		return s
	}
	t.Run("contract", func(t *testing.T) {
		storetest.Run(t, storetest.Adapter{
			Open: func(t *testing.T) store.Store { return open(t, planDatabase(t).Database) },
			Reopen: func(t *testing.T, s store.Store) store.Store {
				require.NoError(t, s.Close())
				name, _ := names.Load(s)
				return open(t, name.(string))
			},
			Purge: func(ctx context.Context, s store.Store, now time.Time) error { return s.(*Store).PurgeAt(ctx, now) },
		})
	})
	mu.Lock()
	defer mu.Unlock()
	return queries
}

// queriesOf returns the queries in a command.
func queriesOf(e *event.CommandStartedEvent) []recorded {
	c := e.Command
	one := func(filter bson.RawValue) recorded {
		document, _ := filter.DocumentOK()
		return recorded{collection: c.Lookup(e.CommandName).StringValue(), filter: document}
	}
	switch e.CommandName {
	case "find":
		q := one(c.Lookup("filter"))
		q.sort, _ = c.Lookup("sort").DocumentOK()
		q.limit, _ = c.Lookup("limit").AsInt64OK()
		return []recorded{q}
	case "findAndModify":
		return []recorded{one(c.Lookup("query"))}
	case "update", "delete":
		list, _ := c.Lookup(e.CommandName + "s").ArrayOK()
		values, _ := list.Values()
		var all []recorded
		for _, v := range values {
			all = append(all, one(v.Document().Lookup("q")))
		}
		return all
	case "aggregate":
		pipeline := c.Lookup("pipeline")
		q := one(pipeline.Array().Index(0).Document().Lookup("$match"))
		q.pipeline = pipeline
		return []recorded{q}
	case "count", "distinct":
		panic("teach this test to explain " + e.CommandName)
	}
	return nil
}

// shapeOf returns a filter without its values.
func shapeOf(filter bson.Raw) string {
	elements, _ := filter.Elements()
	var parts []string
	for _, e := range elements {
		part := e.Key()
		if list, ok := e.Value().ArrayOK(); ok && part == "$or" {
			branches, _ := list.Values()
			shapes := map[string]bool{}
			for _, b := range branches {
				shapes[shapeOf(b.Document())] = true
			}
			part += strings.Join(slices.Sorted(maps.Keys(shapes)), "|")
		}
		if inner, ok := e.Value().DocumentOK(); ok {
			part += shapeOf(inner)
		}
		parts = append(parts, part)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func planDatabase(t *testing.T) Config {
	t.Helper()
	cfg := Config{URI: enginetest.URL(t, enginetest.Mongo), Database: "test_" + strings.ToLower(rand.Text()), Timeout: time.Minute}
	t.Cleanup(func() {
		o, err := clientOptions(Config{URI: cfg.URI})
		require.NoError(t, err)
		client, err := driver.Connect(o)
		require.NoError(t, err)
		require.NoError(t, client.Database(cfg.Database).Drop(context.Background()))
		require.NoError(t, client.Disconnect(context.Background()))
	})
	return cfg
}

// filled returns a database with some thousand documents in every collection.
func filled(t *testing.T) *driver.Database {
	t.Helper()
	const documents, users = 5000, 50
	cfg := planDatabase(t)
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	now := time.Now()
	for collection, id := range map[*driver.Collection]func(user string, i int) any{
		s.users:    func(user string, i int) any { return fmt.Sprint(user, "_", i) },
		s.keys:     func(user string, i int) any { return fmt.Sprint(user, "/", i) },
		s.sessions: func(user string, i int) any { return sessionKey(user, fmt.Sprint(i)) },
		s.meta:     func(user string, i int) any { return fmt.Sprint("of ", user, " ", i) },
		s.messages: func(string, int) any { return bson.ObjectID(store.NewMessageID(now)) },
		s.inbox: func(user string, i int) any {
			if i == documents/users {
				return markID(user, 1)
			}
			return placeID(user, int64(i))
		},
	} {
		list := make([]any, documents)
		for i := range list {
			user := fmt.Sprint("user", i%users)
			list[i] = bson.D{
				eq("_id", id(user, i/users+1)), eq("u", user), eq("s", int64(i/users+1)), eq("v", i), eq("name", user),
				eq("expiresAt", now.Add(time.Hour)), eq(contentField, "text"), eq("eraseAt", now.Add(time.Hour)),
			}
		}
		_, err := collection.InsertMany(t.Context(), list)
		require.NoError(t, err)
	}
	return s.client.Database(cfg.Database)
}

func raw(v any) bson.Raw {
	b, err := bson.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// explain returns the plan of a query.
func explain(t *testing.T, db *driver.Database, q recorded) bson.Raw {
	t.Helper()
	asked := bson.D{eq("find", q.collection), eq("filter", q.filter)}
	if q.sort != nil {
		asked = append(asked, eq("sort", q.sort))
	}
	if q.limit > 0 {
		asked = append(asked, eq("limit", q.limit))
	}
	if !q.pipeline.IsZero() {
		asked = bson.D{eq("aggregate", q.collection), eq("pipeline", q.pipeline), eq("cursor", bson.D{})}
	}
	var plan bson.Raw
	command := bson.D{eq("explain", asked), eq("verbosity", "queryPlanner")}
	require.NoError(t, db.RunCommand(t.Context(), command).Decode(&plan), "%s", asked)
	return plan
}

// scans reports whether a plan reads a whole collection. There are two plan formats: MongoDB's own, and that of a server on PostgreSQL,
// where a plan can also scan the whole index of _id.
func scans(plan bson.Raw) bool {
	if slices.Contains(valuesOf(plan, "stage"), "COLLSCAN") || slices.Contains(valuesOf(plan, "Node Type"), "Seq Scan") {
		return true
	}
	return walksIDs(plan)
}

// sorts reports whether a plan sorts its results.
func sorts(plan bson.Raw) bool {
	return slices.Contains(valuesOf(plan, "stage"), "SORT") || slices.Contains(valuesOf(plan, "Node Type"), "Sort")
}

// walksIDs reports whether any part of a plan scans the whole index of _id.
func walksIDs(part bson.Raw) bool {
	name, _ := part.Lookup("Index Name").StringValueOK()
	condition, _ := part.Lookup("Index Cond").StringValueOK()
	if name == "_id_" && !strings.Contains(condition, "object_id") {
		return true
	}
	elements, _ := part.Elements()
	return slices.ContainsFunc(elements, func(e bson.RawElement) bool {
		inner, _ := e.Value().DocumentOK()
		list, _ := e.Value().ArrayOK()
		return walksIDs(inner) || walksIDs(bson.Raw(list))
	})
}

// indexesOf returns the indexes that a plan uses.
func indexesOf(plan bson.Raw) []string {
	if names := valuesOf(plan, "Index Name"); len(names) > 0 {
		return names
	}
	if slices.Contains(valuesOf(plan, "stage"), "IDHACK") {
		return []string{"_id_"}
	}
	return valuesOf(plan, "indexName")
}

// valuesOf returns the texts of all fields with a name, at any depth, except those of rejected plans.
func valuesOf(document bson.Raw, field string) []string {
	var found []string
	elements, _ := document.Elements()
	for _, e := range elements {
		if text, ok := e.Value().StringValueOK(); ok && e.Key() == field {
			found = append(found, text)
		}
		if e.Key() == "rejectedPlans" {
			continue
		}
		if inner, ok := e.Value().DocumentOK(); ok {
			found = append(found, valuesOf(inner, field)...)
		}
		if list, ok := e.Value().ArrayOK(); ok {
			found = append(found, valuesOf(bson.Raw(list), field)...)
		}
	}
	return found
}
