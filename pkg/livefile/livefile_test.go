package livefile_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/livefile"
)

// joined parses texts that do not contain "bad".
func joined(contents [][]byte) (string, error) {
	text := string(bytes.Join(contents, []byte("+")))
	if strings.Contains(text, "bad") {
		return "", errors.New("not understood")
	}
	return text, nil
}

func TestAValueIsWhatItsFilesHoldNowOrTheLastThatWasGood(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	put := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	put(first, "a")
	put(second, "b")
	var log bytes.Buffer
	reg := prometheus.NewPedanticRegistry()
	v, err := livefile.Open(livefile.NewReporter(slog.New(slog.NewTextHandler(&log, nil)), reg), joined, first, second)
	require.NoError(t, err)
	failures := func(want, told int) {
		t.Helper()
		families, err := reg.Gather()
		require.NoError(t, err)
		require.Equal(t, "sealpost_reload_failures_total", families[0].GetName())
		require.InDelta(t, want, families[0].Metric[0].Counter.GetValue(), 0)
		require.Equal(t, told, strings.Count(log.String(), "level=ERROR"))
	}
	require.Equal(t, "a+b", v.Get())
	put(second, "c")
	require.Equal(t, "a+c", v.Get())
	failures(0, 0)

	put(first, "bad")
	for range 3 {
		require.Equal(t, "a+c", v.Get())
	}
	failures(3, 1)
	require.NoError(t, os.Remove(first))
	require.Equal(t, "a+c", v.Get())
	require.Equal(t, "a+c", v.Get())
	failures(5, 2)
	put(first, "a")
	require.Equal(t, "a+c", v.Get())
	put(first, "d")
	require.Equal(t, "d+c", v.Get())
	failures(5, 2)
}

func TestAValueThatIsNotGoodFromTheBeginningIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	_, err := livefile.Open(nil, joined, path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("bad"), 0o600))
	_, err = livefile.Open(nil, joined, path)
	require.ErrorContains(t, err, path+": not understood")
}

func TestWithoutAReporterNobodyIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("a"), 0o600))
	v, err := livefile.Open(nil, joined, path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("bad"), 0o600))
	require.Equal(t, "a", v.Get())
	require.NoError(t, os.WriteFile(path, []byte("b"), 0o600))
	require.Equal(t, "b", v.Get())
}
