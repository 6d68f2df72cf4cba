package engines

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
)

// childEnv makes the test binary a process that starts a Redis, prints its address, and waits to be killed.
const childEnv = "ENGINES_TEST_CHILD"

// patience bounds waits for what must happen.
const patience = 15 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		beKilled()
	}
	goleak.VerifyTestMain(m)
}

func beKilled() {
	running, err := Start(context.Background(), Options{Redis: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintln(os.Stdout, running.Redis.Addr(), running.Redis.folder.path)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test kills it
	os.Exit(1)
}

// start starts engines for this test, if they are installed or required.
func start(t *testing.T, o Options) *Engines {
	t.Helper()
	for _, variable := range []string{MongoEnv, RedisEnv, NATSEnv} {
		t.Setenv(variable, "")
	}
	c, err := openCache(o.logger())
	require.NoError(t, err)
	if !installed(c.steps(o)) && os.Getenv("CI") == "" && os.Getenv("SEALPOST_ENGINES") != "required" {
		t.Skip("not installed: run the command engines install, or set SEALPOST_ENGINES=required")
	}
	running, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, running.Close()) })
	return running
}

func redisClient(t *testing.T, e *Engine) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(e.URL())
	require.NoError(t, err)
	o.ContextTimeoutEnabled = true
	client := redis.NewClient(o)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func mongoClient(t *testing.T, e *Engine) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(e.URL()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(context.Background())) })
	return client
}

// interruptions end an engine and restart it.
var interruptions = []struct {
	name string
	end  func(context.Context, *Engine) error
}{
	{"stop", func(ctx context.Context, e *Engine) error { return e.Stop(ctx) }},
	{"kill", func(_ context.Context, e *Engine) error { return e.Kill() }},
}

func TestRedisKeepsWhatItAcknowledged(t *testing.T) {
	e := start(t, Options{Redis: true}).Redis
	client := redisClient(t, e)
	for i, by := range interruptions {
		require.NoError(t, client.Set(t.Context(), "key", i, 0).Err())
		require.NoError(t, by.end(t.Context(), e))
		_, err := net.Dial("tcp", e.Addr())
		require.ErrorIs(t, err, syscall.ECONNREFUSED, by.name)
		require.NoError(t, e.Start(t.Context()))
		got, err := client.Get(t.Context(), "key").Int()
		require.NoError(t, err, by.name)
		require.Equal(t, i, got, by.name)
	}
}

func TestRedisIsPutBackToABackup(t *testing.T) {
	e := start(t, Options{Redis: true}).Redis
	client := redisClient(t, e)
	require.NoError(t, client.Set(t.Context(), "key", "old", 0).Err())
	backup, err := e.Backup()
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), "key", "new", 0).Err())
	require.NoError(t, e.Restore(t.Context(), backup))
	require.Equal(t, "old", client.Get(t.Context(), "key").Val())
	require.NoError(t, client.Set(t.Context(), "key", "newer", 0).Err())
	require.NoError(t, e.Restore(t.Context(), backup), "a backup is good more than once")
	require.Equal(t, "old", client.Get(t.Context(), "key").Val())
}

func TestRedisIsEmptied(t *testing.T) {
	e := start(t, Options{Redis: true}).Redis
	client := redisClient(t, e)
	require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())
	require.NoError(t, e.Flush(t.Context()))
	require.Zero(t, client.DBSize(t.Context()).Val())
}

func TestAPausedEngineKeepsConnectionsAndAnswersNothing(t *testing.T) {
	e := start(t, Options{Redis: true}).Redis
	client := redisClient(t, e)
	require.NoError(t, client.Ping(t.Context()).Err())
	require.NoError(t, e.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Ping(ctx).Err(), context.DeadlineExceeded)
	conn, err := net.Dial("tcp", e.Addr())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, e.Resume())
	require.NoError(t, client.Ping(t.Context()).Err())
	require.NoError(t, e.Pause())
	require.NoError(t, e.Stop(t.Context()), "one that is paused is stopped all the same")
}

func TestMongoKeepsWhatItAcknowledged(t *testing.T) {
	e := start(t, Options{Mongo: true}).Mongo
	things := mongoClient(t, e).Database("test").Collection("things")
	for i, by := range interruptions {
		_, err := things.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}})
		require.NoError(t, err)
		require.NoError(t, by.end(t.Context(), e))
		_, err = net.Dial("tcp", e.Addr())
		require.ErrorIs(t, err, syscall.ECONNREFUSED, by.name)
		require.NoError(t, e.Start(t.Context()))
		n, err := things.CountDocuments(t.Context(), bson.D{})
		require.NoError(t, err, by.name)
		require.EqualValues(t, i+1, n, by.name)
	}
	require.NoError(t, e.Flush(t.Context()))
	n, err := things.CountDocuments(t.Context(), bson.D{})
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestMongoIsPutBackToABackup(t *testing.T) {
	e := start(t, Options{Mongo: true}).Mongo
	things := mongoClient(t, e).Database("test").Collection("things")
	insert := func(id int) {
		_, err := things.InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}})
		require.NoError(t, err)
	}
	insert(1)
	backup, err := e.Backup()
	require.NoError(t, err)
	insert(2)
	require.NoError(t, e.Restore(t.Context(), backup))
	n, err := things.CountDocuments(t.Context(), bson.D{})
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	insert(2)
}

func TestNATSCarriesMessagesAcrossARestart(t *testing.T) {
	e := start(t, Options{NATS: true}).NATS
	back := make(chan struct{}, 1)
	client, err := nats.Connect(e.URL(), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.MaxReconnects(-1),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	require.NoError(t, err)
	defer client.Close()
	sub, err := client.SubscribeSync("subject")
	require.NoError(t, err)
	require.NoError(t, e.Kill())
	require.NoError(t, e.Start(t.Context()))
	select {
	case <-back:
	case <-time.After(patience):
		t.Fatal("not reconnected")
	}
	require.NoError(t, client.Publish("subject", []byte("hello")))
	message, err := sub.NextMsg(patience)
	require.NoError(t, err)
	require.Equal(t, "hello", string(message.Data))
	require.Error(t, e.Flush(t.Context()), "there is nothing to remove")
}

func startHAProxy(t *testing.T, configuration string) (*Engine, error) {
	port, err := freePort()
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	require.NoError(t, os.WriteFile(path, []byte(configuration), 0o600))
	return StartHAProxy(t.Context(), nil, path, addr, []string{"LISTEN=" + addr})
}

func TestAProgramThatEndsSaysSoAndIsStartedAgain(t *testing.T) {
	port, err := freePort()
	require.NoError(t, err)
	e, err := StartProgram(t.Context(), nil, Program{
		Name: "cat", Path: "/bin/sh", Args: []string{"-c", "echo $GREETING; exec sleep 600"}, Env: []string{"GREETING=hello"},
		Addr: fmt.Sprintf("127.0.0.1:%d", port), Ready: func(context.Context) error { return nil },
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	printed := func(want string) {
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(e.LogFile())
			return err == nil && string(text) == want
		}, patience, time.Millisecond)
	}
	printed("hello\n")
	first, err := e.Pid()
	require.NoError(t, err)
	ended := e.Ended()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	<-ended
	require.NoError(t, e.Restart(t.Context()))
	second, err := e.Pid()
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	printed("hello\nhello\n")
	require.NoError(t, e.Kill())
	<-e.Ended()
	_, err = e.Pid()
	require.Error(t, err)
}

func TestHAProxyBalances(t *testing.T) {
	if find("haproxy") == "" && os.Getenv("CI") == "" {
		t.Skip("not installed")
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "from behind") }))
	defer backend.Close()
	e, err := startHAProxy(t, "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n"+
		"frontend f\n bind \"${LISTEN}\"\n default_backend b\nbackend b\n server s "+backend.Listener.Addr().String()+"\n")
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	answer, err := http.Get(e.URL())
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, "from behind", string(body))
	http.DefaultClient.CloseIdleConnections()
}

func TestAnEngineThatDoesNotStartSaysWhy(t *testing.T) {
	if find("haproxy") == "" && os.Getenv("CI") == "" {
		t.Skip("not installed")
	}
	_, err := startHAProxy(t, "nonsense in line one\n")
	require.ErrorContains(t, err, "ended at once")
	require.ErrorContains(t, err, "nonsense", "the log's tail")
}

func TestCloseLeavesNeitherProcessesNorData(t *testing.T) {
	running := start(t, Options{Mongo: true, Redis: true, NATS: true})
	var pids []int
	var folders []string
	for _, e := range running.byVariable() {
		folders = append(folders, e.folder.path)
		for _, p := range e.running {
			pids = append(append(pids, p.pid), descendants(p.pid)...)
		}
	}
	require.Greater(t, len(pids), 4, "PostgreSQL alone has several")
	require.NoError(t, running.Close())
	for _, pid := range pids {
		require.Eventually(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, patience, time.Millisecond, "process %d", pid)
	}
	for _, f := range folders {
		require.NoDirExists(t, f)
	}
	require.NoError(t, running.Close(), "again")
}

// TestEnginesEndWithAParentThatIsKilled is about Linux, where the kernel signals children when their parent ends.
func TestEnginesEndWithAParentThatIsKilled(t *testing.T) {
	start(t, Options{Redis: true}) // installed, or skipped
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childEnv+"=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = stdin.Close() }()
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr, left, ok := strings.Cut(strings.TrimSpace(line), " ")
	require.True(t, ok)
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, patience, time.Millisecond, "still running")
	require.DirExists(t, left, "nobody could remove it")
	f, err := newFolder(filepath.Dir(left), "next")
	require.NoError(t, err)
	require.NoDirExists(t, left, "the next one does")
	require.NoError(t, f.remove())
}

func TestEnginesThatAreThereAreUsedAndLeftAlone(t *testing.T) {
	t.Setenv(MongoEnv, "mongodb://there/")
	t.Setenv(RedisEnv, "redis://there:1")
	t.Setenv(NATSEnv, "nats://there:2")
	running, err := Start(t.Context(), All(nil))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"MONGODB_URI=mongodb://there/", "REDIS_URL=redis://there:1", "NATS_URL=nats://there:2"}, running.Environ())
	require.True(t, running.Redis.External())
	for _, err := range []error{
		running.Redis.Stop(t.Context()), running.Redis.Start(t.Context()), running.Redis.Kill(), running.Redis.Pause(),
		running.Redis.Resume(), running.Redis.Flush(t.Context()),
	} {
		require.ErrorIs(t, err, ErrExternal)
	}
	require.NoError(t, running.Close())
}

func TestOnlyWhatIsAskedForIsStarted(t *testing.T) {
	running, err := Start(t.Context(), Options{})
	require.NoError(t, err)
	require.Equal(t, &Engines{}, running)
	require.Empty(t, running.Environ())
	require.NoError(t, running.Close())
}
