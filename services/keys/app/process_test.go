package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/serverkey"
	"github.com/sealpost/sealpost/services/keys/app"
)

func TestAServerKeyIsTakenOrRefusedByName(t *testing.T) {
	pair, err := serverkey.New()
	require.NoError(t, err)
	require.NoError(t, config.Load(&app.ServerKeyConfig{}, []string{"SERVER_KEY=" + string(pair)}))
	require.NoError(t, config.Load(&app.ServerKeyConfig{}, nil), "the database keeps one")
	require.ErrorContains(t, config.Load(&app.ServerKeyConfig{}, []string{"SERVER_KEY=secret"}), "SERVER_KEY")
}
