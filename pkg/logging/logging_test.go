package logging_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/logging"
)

func TestALineCarriesTheServiceAndTheRequestID(t *testing.T) {
	var out bytes.Buffer
	log, err := logging.New(&out, "info", "auth")
	require.NoError(t, err)
	ctx := logging.WithRequestID(t.Context(), "r-1")
	log.With("a", 1).DebugContext(ctx, "too fine")
	log.With("a", 1).InfoContext(ctx, "hello")
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "auth", line["service"])
	require.Equal(t, "r-1", line["requestId"])
	require.Equal(t, "hello", line["msg"])
}

func TestAnUnknownLevelIsRefused(t *testing.T) {
	_, err := logging.New(&bytes.Buffer{}, "loud", "auth")
	require.ErrorContains(t, err, "LOG_LEVEL")
}
