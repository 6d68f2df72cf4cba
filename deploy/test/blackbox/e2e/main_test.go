// Package e2e tests the whole server from the outside, as a separate process.
package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/services/standalone/app"
)

// serverVariable makes the test binary run as the server, so that the killed process is the code under test, built as the tests
// are.
const serverVariable = "SEALPOST_E2E_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	var cfg app.Config
	err := config.Load(&cfg, os.Environ())
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err = app.Run(ctx, cfg, os.Stderr)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is a running server.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string
	admin string
	// ended is closed when the log has been read to its end.
	ended chan struct{}
}

// start runs a server on a data folder. port 0 takes a free one.
func start(t *testing.T, dataDir string, port int, settings ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), serverVariable+"=1", "HOST=127.0.0.1", fmt.Sprint("PORT=", port), "ADMIN_ADDRESS=127.0.0.1:0",
		"DATA_DIR="+dataDir, "ARGON2_MEMORY=64KiB", "ARGON2_TIME=1", "RATE_LIMIT=off")
	p.cmd.Env = append(p.cmd.Env, settings...)
	logs, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	lines := bufio.NewReader(logs)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatalf("the server ended before it listened: %s", line)
		}
		var entry struct{ Msg, Address, Admin string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
			p.url, p.admin = "http://"+entry.Address, "http://"+entry.Admin
			break
		}
	}
	go func() {
		defer close(p.ended)
		_, _ = io.Copy(io.Discard, lines)
	}()
	return p
}

// kill ends the server as a crash would.
func (p *process) kill() { _ = p.end(syscall.SIGKILL) }

// stop asks the server to stop, and returns how it ended.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

func (p *process) end(s syscall.Signal) error {
	_ = p.cmd.Process.Signal(s) // it may have ended already
	<-p.ended
	return p.cmd.Wait()
}
