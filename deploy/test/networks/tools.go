package networks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Tools are the programs that the lab runs.
type Tools struct {
	// Standalone and CommandLine are built from this repository.
	Standalone, CommandLine string
	// NodeFolder has the scripts of testdata/node and the packages of its package-lock.json.
	NodeFolder string
	// Paths are other programs by name.
	Paths map[string]string
	// Missing is why a program, or Node's packages, are not there.
	Missing map[string]string
}

// toolsEnv hands the tools to the test in its own namespace, which has no network to get them from.
const toolsEnv = "SEALPOST_NETWORKS_TOOLS"

// The programs that are found on the machine, and the packages of Debian that have them.
const (
	HAProxy  = "haproxy"
	Nginx    = "nginx"
	Curl     = "curl"
	Node     = "node"
	Chromium = "chromium-headless-shell"
)

var packages = map[string]string{
	HAProxy: "haproxy", Nginx: "nginx-light", Curl: "curl", Node: "nodejs", Chromium: "chromium-headless-shell",
	"npm": "npm", "ip": "iproute2", "tc": "iproute2", "iptables": "iptables", "nsenter": "util-linux",
}

// Built is the environment variable with a folder in which the server and the command line are built already, such as bin/ after make build.
const Built = "SEALPOST_NETWORKS_BUILT"

// Prepare builds what is of this repository, into folder, and finds or installs the rest. It fails only if the server cannot be built.
func Prepare(ctx context.Context, folder string, log *slog.Logger) (Tools, error) {
	if text := os.Getenv(toolsEnv); text != "" {
		var t Tools
		return t, json.Unmarshal([]byte(text), &t)
	}
	built := os.Getenv(Built)
	if built != "" {
		folder = built
	}
	t := Tools{
		Standalone: filepath.Join(folder, "standalone"), CommandLine: filepath.Join(folder, "sealpost"),
		Paths: map[string]string{}, Missing: map[string]string{},
	}
	_, source, _, _ := runtime.Caller(0)
	here := filepath.Dir(source)
	for module, program := range map[string]string{"services/standalone": t.Standalone, "pkg/cmd/sealpost": t.CommandLine} {
		if built != "" {
			break
		}
		if err := build(ctx, filepath.Join(here, "../../..", module), program); err != nil {
			return t, err
		}
	}
	for name := range packages {
		path, err := find(ctx, name, orDiscard(log))
		if err != nil {
			t.Missing[name] = err.Error()
			continue
		}
		t.Paths[name] = path
	}
	var err error
	if t.NodeFolder, err = t.nodePackages(ctx, filepath.Join(here, "testdata/node")); err != nil {
		t.Missing[nodePackages] = err.Error()
	}
	return t, nil
}

// build builds a program as the images are built.
func build(ctx context.Context, folder, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".") //nolint:gosec // of this repository
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", folder, err, out)
	}
	return nil
}

// find returns the path of a program, which root installs if it is missing.
func find(ctx context.Context, name string, log *slog.Logger) (string, error) {
	path, err := lookUp(name)
	if err == nil || os.Getuid() != 0 {
		return path, err
	}
	log.Info("installing", "package", packages[name])
	install := []string{"install", "-y", "--no-install-recommends", packages[name]}
	if _, err := apt(ctx, install...); err != nil { // a new machine has no lists of packages, or old ones
		_, _ = apt(ctx, "update")
		if out, err := apt(ctx, install...); err != nil {
			return "", fmt.Errorf("install %s: %w: %s", packages[name], err, lastLine(out))
		}
	}
	return lookUp(name)
}

// apt runs apt-get. Packages start their services unless the run level says that the system is down.
func apt(ctx context.Context, args ...string) ([]byte, error) {
	args = append([]string{"RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"}, args...)
	return exec.CommandContext(ctx, "env", args...).CombinedOutput() //nolint:gosec // named by find
}

// lookUp also looks where the path of users other than root does not lead.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, folder := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(folder, name))
	}
	return path, err
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// nodePackages is the name of the packages of Node among the tools.
const nodePackages = "the packages of package-lock.json"

// nodePackages copies the scripts into a folder of the cache and installs the packages there, exactly those of package-lock.json. The
// folder is named for what is in it: nothing in the repository is written, and a change makes another one.
func (t Tools) nodePackages(ctx context.Context, scripts string) (string, error) {
	if why := t.Missing[Node] + t.Missing["npm"]; why != "" {
		return "", errors.New(why)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum, err := sumOf(scripts)
	if err != nil {
		return "", err
	}
	parent := filepath.Join(cache, "sealpost-networks")
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(parent, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	folder := filepath.Join(parent, "node-"+sum)
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	partial := folder + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := os.CopyFS(partial, os.DirFS(scripts)); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, t.Paths["npm"], "ci", "--ignore-scripts", "--no-audit", "--no-fund") //nolint:gosec // found above
	cmd.Dir = partial
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w: %s", err, lastLine(out))
	}
	return folder, os.Rename(partial, folder)
}

// sumOf is a hash of the names and contents of a folder's files.
func sumOf(folder string) (string, error) {
	sum := sha256.New()
	files := os.DirFS(folder)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}
