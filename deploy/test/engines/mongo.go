package engines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// startMongo starts a mongod if the machine has one, else DocumentDB (an extension of PostgreSQL) behind FerretDB, which speaks MongoDB's
// protocol. Both write to the disk before they acknowledge.
func startMongo(ctx context.Context, c cache) (*Engine, error) {
	if path, err := exec.LookPath("mongod"); err == nil {
		return startMongod(ctx, c, path)
	}
	return startFerretDB(ctx, c)
}

func startMongod(ctx context.Context, c cache, path string) (*Engine, error) {
	f, err := newFolder(c.runs(), "mongod")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	if err := os.Mkdir(f.data(), 0o700); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	e := mongoEngine(c, f, port)
	e.programs = []program{{
		name: "mongod", path: path, logFile: f.file("mongod.log"), stop: syscall.SIGTERM, ready: e.mongoReady,
		args: []string{"--port", fmt.Sprint(port), "--bind_ip", "127.0.0.1", "--dbpath", f.data()},
	}}
	return newEngine(ctx, e)
}

func mongoEngine(c cache, f *folder, port int) *Engine {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	e := &Engine{name: "mongodb", addr: addr, url: "mongodb://" + addr + "/", log: c.log, folder: f}
	e.flush = func(ctx context.Context) error { return e.withMongo(ctx, dropAll) }
	return e
}

func startFerretDB(ctx context.Context, c cache) (*Engine, error) {
	root := c.documentDB()
	user, err := accountIn(root, "postgres")
	if err != nil {
		return nil, err
	}
	f, err := newFolder(filepath.Join(root, clusters), "cluster")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	if err := copyFolder(c.clusterTemplate(), f.data()); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	e := mongoEngine(c, f, ports[1])
	e.programs = []program{
		postgres(root, user, f.data(), f.file("postgres.log"), ports[0]),
		{
			name: "ferretdb", path: c.ferretDB(), logFile: f.file("ferretdb.log"), stop: syscall.SIGTERM, ready: e.mongoReady,
			args: []string{
				"--no-auth", "--telemetry=disable", "--listen-addr=" + e.addr, "--debug-addr=-", "--state-dir=" + f.path,
				"--log-level=warn", fmt.Sprintf("--postgresql-url=postgres://postgres@127.0.0.1:%d/postgres", ports[0]),
			},
		},
	}
	return newEngine(ctx, e)
}

const postgresBin = "/usr/lib/postgresql/18/bin/"

// postgres is a PostgreSQL server inside the folder root, with its data in the folder data below it.
func postgres(root string, user *syscall.Credential, data, logFile string, port int) program {
	inside := "/" + strings.TrimPrefix(strings.TrimPrefix(data, root), "/")
	return program{
		name: "postgres", path: postgresBin + "postgres", root: root, user: user, logFile: logFile,
		args: []string{"-D", inside, "-p", fmt.Sprint(port)},
		stop: syscall.SIGINT, // without waiting for clients to leave
		ready: func(ctx context.Context) error {
			return inRoot(ctx, root, user, postgresBin+"pg_isready", "-q", "-h", "127.0.0.1", "-p", fmt.Sprint(port))
		},
	}
}

// inRoot runs a command with root as its root folder.
func inRoot(ctx context.Context, root string, user *syscall.Credential, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = program{root: root, user: user}.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(path), err, out)
	}
	return nil
}

// mongoReady makes a query that has to reach the data.
func (e *Engine) mongoReady(ctx context.Context) error {
	return e.withMongo(ctx, func(ctx context.Context, client *mongo.Client) error {
		_, err := client.ListDatabaseNames(ctx, bson.D{})
		return err
	})
}

func dropAll(ctx context.Context, client *mongo.Client) error {
	names, err := client.ListDatabaseNames(ctx, bson.D{})
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == "admin" || name == "local" || name == "config" {
			continue
		}
		if err := client.Database(name).Drop(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) withMongo(ctx context.Context, do func(context.Context, *mongo.Client) error) error {
	client, err := mongo.Connect(options.Client().ApplyURI(e.url).SetServerSelectionTimeout(startTimeout / 10))
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, client), client.Disconnect(context.WithoutCancel(ctx)))
}
