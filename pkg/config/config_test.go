package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/config"
)

type inner struct {
	Wait time.Duration `env:"WAIT" envDefault:"25s" desc:"how long to wait"`
}

func (i inner) Validate() error {
	if i.Wait <= 0 {
		return errors.New("WAIT must be positive")
	}
	return nil
}

type sample struct {
	inner2   int
	Port     int           `env:"PORT" envDefault:"3001" desc:"the port"`
	Limit    config.Bytes  `env:"LIMIT" envDefault:"5MiB" desc:"a size"`
	Password config.Secret `env:"PASSWORD" desc:"a secret"`
	Poll     inner

	PasswordFile config.SecretFile `env:"PASSWORD_FILE"`
}

func TestDefaultsApplyWhereNothingIsSet(t *testing.T) {
	var s sample
	require.NoError(t, config.Load(&s, nil))
	require.Equal(t, 3001, s.Port)
	require.EqualValues(t, 5<<20, s.Limit)
	require.Equal(t, 25*time.Second, s.Poll.Wait)
	require.Zero(t, s.inner2)
}

func TestAllFaultsAreReportedTogether(t *testing.T) {
	var s sample
	err := config.Load(&s, []string{"PORT=x", "LIMIT=lots", "WAIT=-1s", "PASSWORD_FILE=/does/not/exist"})
	require.Error(t, err)
	for _, want := range []string{"Port", "Limit", "WAIT must be positive", "PASSWORD_FILE"} {
		require.ErrorContains(t, err, want)
	}
}

func TestASecretIsReadFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("s3cret\n"), 0o600))
	var s sample
	require.NoError(t, config.Load(&s, []string{"PASSWORD_FILE=" + path}))
	require.Equal(t, "s3cret", s.Password.Reveal())
	require.Equal(t, path, string(s.PasswordFile), "to be read again")

	require.ErrorContains(t, config.Load(&s, []string{"PASSWORD=a", "PASSWORD_FILE=" + path}), "both set")
}

func TestASecretNeverPrints(t *testing.T) {
	s := sample{Password: "s3cret"}
	asJSON, err := json.Marshal(s)
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%s|%q|%v", s.Password, s.Password, s.Password), string(asJSON)} {
		require.NotContains(t, shown, "s3cret")
		require.Contains(t, shown, "redacted")
	}
}

func TestHelpListsEveryVariable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, config.WriteHelp(&out, sample{}))
	for _, want := range []string{"PORT", "3001", "the port", "LIMIT", "PASSWORD_FILE", "WAIT", "25s"} {
		require.Contains(t, out.String(), want)
	}
}
