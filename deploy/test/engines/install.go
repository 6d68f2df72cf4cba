package engines

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CacheEnv is the variable with the folder where engines are installed; the default is the folder sealpost-engines in the user's cache
// folder.
const CacheEnv = "SEALPOST_ENGINES_CACHE"

// The installed versions.
const (
	natsModule     = "github.com/nats-io/nats-server/v2"
	natsVersion    = "v2.15.2"
	ferretModule   = "github.com/FerretDB/FerretDB/v2/cmd/ferretdb"
	ferretVersion  = "v2.7.0"
	documentDBName = "documentdb-pg18"
)

// clusters is the folder below DocumentDB's root with the data of running servers.
const clusters = "srv/clusters"

// cache is the folder of installed and running engines.
type cache struct {
	path string
	log  *slog.Logger
}

func openCache(log *slog.Logger) (cache, error) {
	path := os.Getenv(CacheEnv)
	if path == "" {
		parent, err := os.UserCacheDir()
		if err != nil {
			return cache{}, err
		}
		path = filepath.Join(parent, "sealpost-engines")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return cache{}, err
	}
	return cache{path: path, log: log}, os.MkdirAll(path, 0o755) //nolint:gosec // PostgreSQL runs below it as another user
}

func (c cache) runs() string { return filepath.Join(c.path, "run") }
func (c cache) natsServer() string {
	return filepath.Join(c.path, "nats-server-"+natsVersion, "nats-server")
}
func (c cache) ferretDB() string   { return filepath.Join(c.path, "ferretdb-"+ferretVersion, "ferretdb") }
func (c cache) documentDB() string { return filepath.Join(c.path, documentDBName) }

// clusterTemplate depends on its configuration, so that it is remade when that changes.
func (c cache) clusterTemplate() string {
	sum := sha256.Sum256([]byte(clusterConfig))
	return filepath.Join(c.documentDB(), "srv", fmt.Sprintf("template-%x", sum[:4]))
}

// redisServer and haproxy are where Debian installs them; its sbin may not be on the PATH.
func (c cache) redisServer() string { return find("redis-server") }
func (c cache) haproxy() string     { return find("haproxy") }

func find(name string) string {
	for _, folder := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// step is one thing to install. do runs unless done reports that it is installed already.
type step struct {
	what string
	done func() bool
	do   func(ctx context.Context) error
}

// Install installs what the engines of o need and this machine lacks. It does not change what is there.
func Install(ctx context.Context, o Options) error {
	c, err := openCache(o.logger())
	if err != nil {
		return err
	}
	return errors.Join(c.install(ctx, o), c.do(ctx, c.haproxySteps()))
}

func (c cache) install(ctx context.Context, o Options) error { return c.do(ctx, c.steps(o)) }

func (c cache) steps(o Options) []step {
	var steps []step
	if o.Redis {
		steps = append(steps, c.debian("redis-server", c.redisServer))
	}
	if o.NATS {
		steps = append(steps, c.goInstall(natsModule, natsVersion, c.natsServer()))
	}
	if _, err := exec.LookPath("mongod"); o.Mongo && err != nil {
		steps = append(steps, c.debian("debootstrap", func() string { return find("debootstrap") }))
		steps = append(steps, c.documentDBSteps()...)
		steps = append(steps, c.goInstall(ferretModule, ferretVersion, c.ferretDB()))
	}
	return steps
}

func (c cache) haproxySteps() []step { return []step{c.debian("haproxy", c.haproxy)} }

// do runs the steps that are not done; only one process of this machine does so at a time.
func (c cache) do(ctx context.Context, steps []step) error {
	if installed(steps) {
		return nil
	}
	c.log.Info("waiting for other installations", "folder", c.path)
	lock, err := lockFile(filepath.Join(c.path, lockName), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	for _, s := range steps {
		if s.done() {
			continue
		}
		c.log.Info("installing", "what", s.what)
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("install %s: %w", s.what, err)
		}
		c.log.Info("installed", "what", s.what, "seconds", int(time.Since(began).Seconds()))
	}
	return nil
}

func installed(steps []step) bool {
	return !slices.ContainsFunc(steps, func(s step) bool { return !s.done() })
}

// debian installs a system package. It starts no service.
func (c cache) debian(name string, path func() string) step {
	return step{
		what: name,
		done: func() bool { return path() != "" },
		do: func(ctx context.Context) error {
			if os.Getuid() != 0 {
				return fmt.Errorf("it is not on this machine: apt-get install %s", name)
			}
			// Packages start their services unless the run level says that the system is down.
			return run(ctx, "env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive",
				"apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", name)
		},
	}
}

// goInstall builds a command of a Go module, at one version, into its own folder.
func (c cache) goInstall(module, version, path string) step {
	return step{
		what: module + "@" + version,
		done: func() bool { return exists(path) },
		do: func(ctx context.Context) error {
			return run(ctx, "env", "GOWORK=off", "GOFLAGS=", "GOBIN="+filepath.Dir(path), "go", "install", module+"@"+version)
		},
	}
}

// documentDBSteps make a folder with a Debian that has DocumentDB, and in it a database cluster that runs are copied from.
func (c cache) documentDBSteps() []step {
	root := c.documentDB()
	return []step{
		{
			what: "debian sid with postgresql-18-documentdb in " + root,
			done: func() bool { return exists(root) },
			do:   func(ctx context.Context) error { return makeRoot(ctx, root) },
		},
		{
			what: "database cluster with the extension documentdb",
			done: func() bool { return exists(c.clusterTemplate()) },
			do:   c.makeTemplate,
		},
	}
}

// rootScript makes a Debian in $1. It runs in its own mount namespace, so that no mount is left behind.
const rootScript = `set -eu
debootstrap --variant=minbase sid "$1"
printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d" # no service is started
chmod +x "$1/usr/sbin/policy-rc.d"
mount --bind /proc "$1/proc"
mount --bind /dev "$1/dev"
chroot "$1" apt-get -o Acquire::Check-Valid-Until=false update
DEBIAN_FRONTEND=noninteractive chroot "$1" apt-get install -y --no-install-recommends postgresql-18-documentdb
chroot "$1" apt-get clean
`

func makeRoot(ctx context.Context, root string) error {
	if os.Getuid() != 0 {
		return errors.New("only root can make a Debian in a folder; set " + MongoEnv + " to a server that is there")
	}
	partial := root + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := run(ctx, "unshare", "--mount", "sh", "-c", rootScript, "sh", partial); err != nil {
		return err
	}
	return os.Rename(partial, root)
}

// clusterConfig is what differs from PostgreSQL's defaults. Nothing in it makes a commit less durable.
const clusterConfig = `
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
cron.use_background_workers = on
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
max_connections = 200
max_worker_processes = 16
deadlock_timeout = 100ms
shared_buffers = 256MB
`

// makeTemplate makes the database cluster that each server begins with.
func (c cache) makeTemplate(ctx context.Context) (err error) {
	root := c.documentDB()
	user, err := accountIn(root, "postgres")
	if err != nil {
		return err
	}
	f, err := newFolder(filepath.Join(root, clusters), "template")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.remove()) }()
	if err := os.Chown(f.path, int(user.Uid), int(user.Gid)); err != nil {
		return err
	}
	inside := strings.TrimPrefix(f.data(), root)
	if err := inRoot(ctx, root, user, postgresBin+"initdb", "-D", inside, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"); err != nil {
		return err
	}
	if err := appendTo(filepath.Join(f.data(), "postgresql.conf"), clusterConfig); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	server, err := postgres(root, user, f.data(), f.file("postgres.log"), port).start(ctx)
	if err != nil {
		return err
	}
	err = inRoot(ctx, root, user, postgresBin+"psql", "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-U", "postgres",
		"-c", "CREATE EXTENSION documentdb CASCADE")
	if err := errors.Join(err, server.end(ctx)); err != nil {
		return err
	}
	return os.Rename(f.data(), c.clusterTemplate())
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// accountIn returns the credential of a system account in root.
func accountIn(root, name string) (*syscall.Credential, error) {
	text, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":")
		if len(fields) < 4 || fields[0] != name {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(fields[3], 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
	}
	return nil, fmt.Errorf("%s: %w", root, user.UnknownUserError(name))
}

// run runs a command; if it fails, the error has the command's last output.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Errorf("%s: %w\n%s", name, err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// RedisServer is the path of the installed Redis server.
func RedisServer() string { return cache{}.redisServer() }
