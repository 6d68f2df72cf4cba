package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// build is a version of the servers.
type build struct {
	name string
	// root is the folder of its sources, bin that of its executables.
	root, bin string
}

// builds returns the commit to measure against, if any, and then the current workspace. remove removes the files made for that.
func builds(ctx context.Context, o Options, progress io.Writer) (list []build, remove func() error, err error) {
	now := build{name: "now", root: o.Root, bin: o.Bin}
	if o.Against == "" {
		return []build{now}, func() error { return nil }, nil
	}
	hash, err := output(ctx, o.Root, "git", "rev-parse", "--short", "--verify", o.Against+"^{commit}")
	if err != nil {
		return nil, nil, err
	}
	folder, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return nil, nil, err
	}
	old := build{name: hash, root: filepath.Join(folder, "source"), bin: filepath.Join(folder, "bin")}
	remove = func() error {
		_, err := output(context.WithoutCancel(ctx), o.Root, "git", "worktree", "remove", "--force", old.root)
		return errors.Join(err, os.RemoveAll(folder))
	}
	_, _ = fmt.Fprintf(progress, "building the servers of %s\n", hash)
	if _, err := output(ctx, o.Root, "git", "worktree", "add", "--detach", old.root, hash); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(folder))
	}
	args := []string{"build", "-o", old.bin + "/"}
	for _, service := range services {
		args = append(args, "./services/"+service)
	}
	if _, err := output(ctx, old.root, "go", args...); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return []build{old, now}, remove, nil
}

var services = []string{"auth", "keys", "messages", "poll-gateway", "standalone"}

// output runs a command in a folder and returns its output without the final newline.
func output(ctx context.Context, folder, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // ours
	var said, complaints bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, &said, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, complaints.Bytes())
	}
	return string(bytes.TrimSpace(said.Bytes())), nil
}
