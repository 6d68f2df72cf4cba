package password

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap costs next to nothing.
var cheap = Params{MemoryKiB: 8, Time: 1, Parallelism: 1}

func newHasher(t *testing.T, p Params, reg prometheus.Registerer) *Hasher {
	t.Helper()
	h, err := New(Config{Params: p, Workers: 2, Queue: 8, QueueWait: time.Minute, Registry: reg})
	require.NoError(t, err)
	return h
}

func TestAHashMatchesItsPasswordAndNoOther(t *testing.T) {
	h := newHasher(t, cheap, nil)
	for _, text := range []string{"correct horse", "", "пароль", strings.Repeat("x", 1024), "nul\x00nul"} {
		hash, err := h.Hash(t.Context(), text)
		require.NoError(t, err)
		require.NotContains(t, hash, "correct")
		match, weak, err := h.Verify(t.Context(), text, hash)
		require.NoError(t, err)
		require.True(t, match)
		require.False(t, weak)
		match, _, err = h.Verify(t.Context(), text+" ", hash)
		require.NoError(t, err)
		require.False(t, match)
	}
}

func TestEqualPasswordsHaveDifferentHashes(t *testing.T) {
	h := newHasher(t, cheap, nil)
	a, err := h.Hash(t.Context(), "secret")
	require.NoError(t, err)
	b, err := h.Hash(t.Context(), "secret")
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

// The hash is from the tests of Argon2's reference implementation, with its costs.
func TestHashesOfTheReferenceImplementationMatch(t *testing.T) {
	const encoded = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	match, _, err := newHasher(t, cheap, nil).Verify(t.Context(), "password", encoded)
	require.NoError(t, err)
	require.True(t, match)
}

func TestAHashIsWeakOnceHashesCostMore(t *testing.T) {
	hash, err := newHasher(t, Params{16, 2, 1}, nil).Hash(t.Context(), "secret")
	require.NoError(t, err)
	for _, c := range []struct {
		now  Params
		weak bool
	}{
		{Params{16, 2, 1}, false},
		{Params{17, 2, 1}, true},
		{Params{16, 3, 1}, true},
		{Params{8, 1, 1}, false},
		{Params{16, 2, 2}, false},
	} {
		match, weak, err := newHasher(t, c.now, nil).Verify(t.Context(), "secret", hash)
		require.NoError(t, err)
		require.True(t, match)
		require.Equal(t, c.weak, weak, "%+v", c.now)
	}
}

func TestStoredTextsThatAreNoHashOfOursAreNotComputed(t *testing.T) {
	h := newHasher(t, cheap, nil)
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for name, encoded := range map[string]string{
		"nothing":              "",
		"a password":           "secret",
		"another variant":      "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + key,
		"another version":      "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + key,
		"no passes":            "$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + key,
		"no lanes":             "$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + key,
		"too little memory":    "$argon2id$v=19$m=15,t=1,p=2$" + salt + "$" + key,
		"4 TiB of memory":      "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"more than 32 bits":    "$argon2id$v=19$m=9999999999,t=1,p=1$" + salt + "$" + key,
		"years of passes":      "$argon2id$v=19$m=8,t=4294967295,p=1$" + salt + "$" + key,
		"too many lanes":       "$argon2id$v=19$m=1024,t=1,p=65$" + salt + "$" + key,
		"no salt":              "$argon2id$v=19$m=8,t=1,p=1$$" + key,
		"a short salt":         "$argon2id$v=19$m=8,t=1,p=1$c29t$" + key,
		"no key":               "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$",
		"a short key":          "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$CTFhFdXP",
		"bad base64":           "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$C",
		"something behind":     "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key + "$x",
		"something in between": "$argon2id$v=19$m=8,t=1,p=1,x=1$" + salt + "$" + key,
		"far too long":         "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + strings.Repeat("A", 1<<20),
	} {
		match, _, err := h.Verify(t.Context(), "secret", encoded)
		require.ErrorIs(t, err, ErrMalformed, name)
		require.False(t, match, name)
	}
}

func TestWhatCannotWorkIsRefusedAtTheStart(t *testing.T) {
	good := Config{Params: cheap, QueueWait: time.Second}
	_, err := New(good)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*Config){
		"no lanes":            func(c *Config) { c.Params.Parallelism = 0 },
		"too many lanes":      func(c *Config) { c.Params = Params{MaxMemoryKiB, 1, MaxParallelism + 1} },
		"too little memory":   func(c *Config) { c.Params.MemoryKiB = 7 },
		"too much memory":     func(c *Config) { c.Params.MemoryKiB = MaxMemoryKiB + 1 },
		"no passes":           func(c *Config) { c.Params.Time = 0 },
		"too many passes":     func(c *Config) { c.Params.Time = MaxTime + 1 },
		"fewer than no queue": func(c *Config) { c.Queue = -1 },
		"negative workers":    func(c *Config) { c.Workers = -1 },
		"no time to wait":     func(c *Config) { c.QueueWait = 0 },
	} {
		bad := good
		spoil(&bad)
		_, err := New(bad)
		require.Error(t, err, name)
	}
}

func TestAnUnknownUsersPasswordCostsAsMuchAsAKnownOnes(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h := newHasher(t, Params{64, 3, 2}, reg)
	require.NoError(t, h.VerifyDummy(t.Context(), "secret"))
	require.EqualValues(t, 1, hashes(t, reg), "one hash was computed")
	require.Equal(t, h.params, h.nobodys.Params, "at the costs of a real one")
	require.Len(t, h.nobodys.key, keyBytes)
	require.Len(t, h.nobodys.salt, saltBytes)
}

// hashes returns how many hashes were computed.
func hashes(t *testing.T, reg *prometheus.Registry) uint64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "sealpost_auth_password_hash_seconds" {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	t.Fatal("no such metric")
	return 0
}

func TestAboveCapacityNothingIsHashed(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h, err := New(Config{Params: cheap, Workers: 1, Queue: 0, QueueWait: time.Minute, Registry: reg})
	require.NoError(t, err)
	leave, err := h.queue.enter(t.Context(), Requester{})
	require.NoError(t, err)
	_, err = h.Hash(t.Context(), "secret")
	require.ErrorIs(t, err, ErrAtCapacity)
	require.ErrorIs(t, h.VerifyDummy(t.Context(), "secret"), ErrAtCapacity)
	require.Zero(t, hashes(t, reg))
	leave()
	_, err = h.Hash(t.Context(), "secret")
	require.NoError(t, err)
}

func TestNobodyWaitsForAnAnswerThatNobodyReads(t *testing.T) {
	h := newHasher(t, cheap, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Hash(ctx, "secret")
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzWhatIsDecodedIsSafeToCompute(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, encoded string) {
		d, err := decode(encoded)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.NoError(t, d.Validate())
		require.GreaterOrEqual(t, len(d.key), 16)
		require.Equal(t, encoded, d.encode(), "a hash has one spelling")
	})
}
