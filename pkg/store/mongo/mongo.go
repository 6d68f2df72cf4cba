// Package mongo stores everything in MongoDB. It is the store for deployments of many nodes.
//
// It needs neither transactions nor change streams. What must be atomic is one document, and what must be decided once is a document that
// is written once: the index of _id decides.
//
// Every write is acknowledged by a majority of the replica set and is in its journals before a call returns. Every read sees only such
// writes, so that no client's cursor rests on something that a failover can undo. The driver does not retry writes (retryWrites is off): to
// the retry, a server without retryable writes would report the first write as a conflict. The ports allow the caller to retry each call
// instead.
//
// To shard: users, messages, sessions and meta by hashed _id; keys by u; inbox by _id, in ranges of one inbox or a few neighbours. Each
// query on a request path contains the shard key of its collection.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/store"
)

// Config configures the connection to the database.
type Config struct {
	// URI is the connection string. It may contain a password.
	URI string
	// Database is the database's name; by default the one that URI names, or DefaultDatabase.
	Database string
	// MaxPoolSize bounds the connections to each server.
	MaxPoolSize uint64
	// Timeout bounds each operation whose context has no deadline. The driver passes every operation's deadline to the server (maxTimeMS),
	// so that the server does not work for callers that have given up.
	Timeout time.Duration
	// Observe, if set, is called after every command with its duration and whether it failed or got no answer.
	Observe func(ctx context.Context, command string, took time.Duration, failed bool)
	// Files, if set, receives errors of TLS files that changed and cannot be used.
	Files *livefile.Reporter
	// sent, if set, is called before every command is sent.
	sent func(*event.CommandStartedEvent)
}

// The defaults of Config.
const (
	DefaultDatabase    = "sealpost"
	DefaultMaxPoolSize = 100
	DefaultTimeout     = 10 * time.Second
)

// closeTimeout bounds closing the connections.
const closeTimeout = 5 * time.Second

// Store implements store.Store on one database. Its methods may be called concurrently.
type Store struct {
	client *driver.Client
	// users holds an account with its current key; _id is the canonical name.
	users *driver.Collection
	// keys holds former keys.
	keys     *driver.Collection
	sessions *driver.Collection
	meta     *driver.Collection
	messages *driver.Collection
	// inbox holds the entries, and the marks that outlive them (see marks).
	inbox *driver.Collection
	// inboxLast, metaLast and sessionsLast are inbox, meta and sessions for reads that must not be stale. Majority reads can be stale for a moment after a failover
	// (SERVER-53813, SERVER-89619). With read concern linearizable the server confirms that it is still the primary, which costs a round
	// trip to a majority.
	inboxLast, metaLast, sessionsLast *driver.Collection
	marks                             *marks

	closing sync.Once
	closed  error
}

var _ store.Store = (*Store)(nil)

// Open connects to the database and creates missing collections and indexes. It waits until the server answers or ctx ends. If the database
// has another schema, Open leaves it unchanged and fails.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	name, err := databaseName(cfg)
	if err != nil {
		return nil, err
	}
	o, err := clientOptions(cfg)
	if err != nil {
		return nil, err
	}
	client, err := driver.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB: %w", err)
	}
	db := client.Database(name)
	s := &Store{
		client: client, users: db.Collection("users"), keys: db.Collection("keys"), sessions: db.Collection("sessions"),
		meta: db.Collection("meta"), messages: db.Collection("messages"), inbox: db.Collection("inbox"),
	}
	last := options.Collection().SetReadConcern(readconcern.Linearizable())
	s.inboxLast, s.metaLast, s.sessionsLast = s.inbox.Clone(last), s.meta.Clone(last), s.sessions.Clone(last)
	s.marks = newMarks(s.inbox, s.inboxLast)
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", name, err), s.Close())
	}
	return s, nil
}

func clientOptions(cfg Config) (*options.ClientOptions, error) {
	journal := true
	o := options.Client().ApplyURI(cfg.URI).SetAppName("sealpost").
		SetMaxPoolSize(DefaultMaxPoolSize).SetTimeout(DefaultTimeout).
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journal}).
		SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary()).
		SetRetryWrites(false).SetRetryReads(true)
	if cfg.MaxPoolSize > 0 {
		o.SetMaxPoolSize(cfg.MaxPoolSize)
	}
	if cfg.Timeout > 0 {
		o.SetTimeout(cfg.Timeout)
	}
	return o.SetMonitor(monitor(cfg)), rereadTLSFiles(o, cfg.URI, cfg.Files)
}

func monitor(cfg Config) *event.CommandMonitor {
	m := &event.CommandMonitor{}
	if cfg.sent != nil {
		m.Started = func(_ context.Context, e *event.CommandStartedEvent) { cfg.sent(e) }
	}
	if cfg.Observe != nil {
		m.Succeeded = func(ctx context.Context, e *event.CommandSucceededEvent) {
			cfg.Observe(ctx, e.CommandName, e.Duration, false)
		}
		m.Failed = func(ctx context.Context, e *event.CommandFailedEvent) {
			cfg.Observe(ctx, e.CommandName, e.Duration, true)
		}
	}
	return m
}

// Validate reports errors in the URI, without showing it.
func (c Config) Validate() error {
	o, err := clientOptions(c)
	if err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return errors.New("the MongoDB URI is invalid")
	}
	_, err = databaseName(c)
	return err
}

func databaseName(cfg Config) (string, error) {
	if cfg.Database != "" {
		return cfg.Database, nil
	}
	u, err := url.Parse(cfg.URI)
	if err != nil {
		return "", errors.New("the MongoDB URI is invalid") // the cause would show the password
	}
	if name := strings.TrimPrefix(u.Path, "/"); name != "" {
		return name, nil
	}
	return DefaultDatabase, nil
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return unavailable(s.client.Ping(ctx, readpref.Primary()))
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.marks.stop()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		s.closed = s.client.Disconnect(ctx)
	})
	return s.closed
}

// unavailable maps errors of the driver to those of the ports.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrNoDocuments):
		return store.ErrNotFound
	case errors.Is(err, store.ErrUnavailable):
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// upsertAttempts bounds the retries of an upsert that conflicts with another one of the same document.
const upsertAttempts = 10

// upserted retries an upsert that lost against another one, which a server may report as a duplicate key.
func upserted(do func() error) error {
	var err error
	for range upsertAttempts {
		if err = do(); !driver.IsDuplicateKeyError(err) {
			break
		}
	}
	return unavailable(err)
}

// all returns every document of a query, or an error.
func all[T any](ctx context.Context, c *driver.Collection, q query) ([]T, error) {
	cursor, err := c.Find(ctx, q.filter, q.options())
	if err != nil {
		return nil, unavailable(err)
	}
	var list []T
	if err = cursor.All(ctx, &list); err != nil {
		return nil, unavailable(err)
	}
	return list, nil
}

// first returns the first document of a query, or ErrNotFound.
func first[T any](ctx context.Context, c *driver.Collection, q query) (T, error) {
	var found []T
	q.limit = 1
	found, err := all[T](ctx, c, q)
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return found[0], nil
}

// ascending and descending are sort orders.
func ascending(field string) bson.D  { return bson.D{{Key: field, Value: 1}} }
func descending(field string) bson.D { return bson.D{{Key: field, Value: -1}} }
