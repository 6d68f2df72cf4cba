package enginetest

import (
	"hash/fnv"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/redis/go-redis/v9"
)

// databases is a Redis server's default number of databases.
const databases = 16

// EmptyRedis empties a database that only the tests of the caller's package use, and returns a client of it. These tests must not
// run in parallel.
func EmptyRedis(t testing.TB) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(URL(t, Redis))
	if err != nil {
		t.Fatal(err)
	}
	o.DB, o.ContextTimeoutEnabled = databaseOfCaller(), true
	client := redis.NewClient(o)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return client
}

// databaseOfCaller gives each package another database, so that packages can be tested at the same time.
func databaseOfCaller() int {
	_, file, _, _ := runtime.Caller(2)
	h := fnv.New32a()
	_, _ = h.Write([]byte(filepath.Base(filepath.Dir(file)))) // a hash accepts all writes
	return int(1 + h.Sum32()%(databases-1))
}
