package enginetest

import (
	"hash/fnv"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/redis/go-redis/v9"
)

// databases is how many databases a Redis server has unless it is told otherwise.
const databases = 16

// EmptyRedis is a client of a database that is emptied now, and that only the tests of the caller's package use: they
// must not run in parallel.
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

// databaseOfCaller gives each package a database of its own, so that packages can be tested at the same time.
func databaseOfCaller() int {
	_, file, _, _ := runtime.Caller(2)
	h := fnv.New32a()
	_, _ = h.Write([]byte(filepath.Base(filepath.Dir(file)))) // a hash takes everything
	return int(1 + h.Sum32()%(databases-1))
}
