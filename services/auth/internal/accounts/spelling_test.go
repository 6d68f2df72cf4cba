package accounts_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

const (
	composed   = "Zo\u00eb na\u00efve" // NFC, as most keyboards type it
	decomposed = "Zoe\u0308 nai\u0308ve"
)

// storeHashAsBefore stores the hash of a text that is not normalized, as was done before passwords were.
func (w *world) storeHashAsBefore(t *testing.T, username, text string) {
	t.Helper()
	account, err := w.store.Account(t.Context(), username)
	require.NoError(t, err)
	salt := []byte("salt of a test")
	key := argon2.IDKey([]byte(text), salt, cheap.Time, cheap.MemoryKiB, cheap.Parallelism, 32)
	hash := fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", cheap.MemoryKiB, cheap.Time, cheap.Parallelism,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
	require.NoError(t, w.store.ReplaceHash(t.Context(), username, account.PasswordHash, hash))
}

func TestAPasswordIsTheSameOnEveryKeyboard(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{"registered_nfc": composed, "registered_nfd": decomposed} {
		_, err := w.Register(t.Context(), api.RegisterRequest{Username: name, Password: text, PublicKey: publicKey()})
		require.NoError(t, err)
		w.good(t, w.login(t, name, composed))
		w.good(t, w.login(t, name, decomposed))
	}
	s := w.login(t, "registered_nfc", composed)
	s, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: decomposed, NewPassword: decomposed + "!"})
	require.NoError(t, err)
	w.good(t, s)
	w.good(t, w.login(t, "registered_nfc", composed+"!"))
	require.Zero(t, w.strengthened(t), "nothing was outdated")
}

func TestAHashFromBeforeNormalizationLetsItsOwnerInAndIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	w.storeHashAsBefore(t, "alice", decomposed)
	_, err := w.Login(t.Context(), api.LoginRequest{Username: "alice", Password: composed})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials, "nobody can know yet that they are the same")
	w.good(t, w.login(t, "alice", decomposed))
	account, err := w.store.Account(t.Context(), "alice")
	require.NoError(t, err)
	w.good(t, w.login(t, "alice", composed))
	w.good(t, w.login(t, "alice", decomposed))
	again, err := w.store.Account(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, account.PasswordHash, again.PasswordHash, "once is enough")
	require.EqualValues(t, 1, w.strengthened(t))
}

func TestAPasswordFromBeforeNormalizationCanBeChanged(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.storeHashAsBefore(t, "alice", decomposed)
	_, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: decomposed, NewPassword: "battery staple"})
	require.NoError(t, err)
	w.good(t, w.login(t, "alice", "battery staple"))
}

func TestAPasswordOfWhichNormalizationLeavesTooLittleIsWeak(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		text string
		weak bool
	}{
		"wide_spaces":      {"\u3000\u3000\u3000", true},
		"one_syllable":     {"\u1112\u1161\u11ab", true},
		"two_syllables":    {"\u1112\u1161\u11ab\u1100\u1173\u11af", false},
		"eight_bytes_sent": {"zoe\u0308123", false},
		"control":          {"\x01\x02\x03\x04\x05\x06\x07\x08", false},
	} {
		_, err := w.Register(t.Context(), api.RegisterRequest{Username: name, Password: c.text, PublicKey: publicKey()})
		if !c.weak {
			require.NoError(t, err, name)
			w.good(t, w.login(t, name, c.text))
			continue
		}
		var fault *api.Error
		require.ErrorAs(t, err, &fault, name)
		require.Equal(t, api.CodeWeakPassword, fault.Code, name)
		require.Equal(t, "password", fault.Field, name)
	}
}

// strengthened returns how many hashes logins have replaced.
func (w *world) strengthened(t *testing.T) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "sealpost_auth_password_hashes_strengthened_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no such metric")
	return 0
}
