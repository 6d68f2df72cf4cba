package networks_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/networks"
)

var (
	only     = flag.String("networks.only", "", "run one cell, 'path/client'; either side may be empty")
	kind     = flag.String("networks.links", "", "the kind of links: relay, tun or netem; the best by default")
	longTime = flag.Duration("networks.long", time.Hour, "how long the crowd runs with LONG=1")
	// tools are the programs that all tests use.
	tools networks.Tools
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if os.Getenv(networks.HelpEnv) != "" {
		return failed(networks.Help(ctx, os.Stdout))
	}
	flag.Parse()
	if err := parallel(); err != nil {
		return failed(err)
	}
	folder, err := os.MkdirTemp("", "networks-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if tools, err = networks.Prepare(ctx, folder, logger()); err != nil {
		return failed(err)
	}
	if status, done, err := networks.Isolate(tools); done || err != nil {
		return max(status, failed(err))
	}
	return m.Run()
}

func failed(err error) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// sideBySide is how many cells run at the same time, unless -parallel says otherwise: they wait most of the time.
const sideBySide = "12"

// parallel makes more tests run at the same time than there are processors.
func parallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", sideBySide)
}

// startLab starts a lab of links of a kind; it ends with the test.
func startLab(t *testing.T, links string, settings ...string) *networks.Lab {
	t.Helper()
	lab, err := networks.Start(t.Context(), tools, links, t.TempDir(), logger(), settings...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, lab.Close()) })
	t.Logf("links: %s", lab.Links)
	return lab
}
