package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/token"
)

const (
	issuer   = "https://auth.example.test"
	audience = "sealpost-test"
	lifetime = time.Hour
)

// epoch has a fraction of a second, which tokens do not carry.
var epoch = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)

// world is a signer, a verifier that trusts it, and their clock.
type world struct {
	key      ed25519.PrivateKey
	signer   *token.Signer
	verifier *token.Verifier
	now      time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: epoch}
	// A fixed seed keeps the fuzz corpus valid across runs.
	w.key = ed25519.NewKeyFromSeed([]byte("an ed25519 seed for tests only.."))
	var err error
	w.signer, err = token.NewSigner(token.SignerConfig{
		Keys: token.NewKeyring(w.key), Issuer: issuer, Audience: audience, Lifetime: lifetime, Now: w.clock,
	})
	require.NoError(t, err)
	w.verifier, err = token.NewVerifier(token.VerifierConfig{
		Keys: token.NewKeySet(w.public()), Issuer: issuer, Audience: audience, Now: w.clock,
	})
	require.NoError(t, err)
	return w
}

func (w *world) public() ed25519.PublicKey { return w.key.Public().(ed25519.PublicKey) }

func (w *world) clock() time.Time { return w.now }

// at is the verifier at the time now.
func (w *world) at(now time.Time) *token.Verifier {
	w.now = now
	return w.verifier
}

// goodClaims are the claims of a valid token.
func (w *world) goodClaims() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": "alice", "username": "Alice", "jti": "t1", "sid": "s1", "gen": 3,
		"iat": w.now.Unix(), "exp": w.now.Add(lifetime).Unix(),
	}
}

// sign makes a token with arbitrary claims, with the key that the verifier trusts.
func (w *world) sign(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	tok.Header["kid"] = token.KeyID(w.public())
	raw, err := tok.SignedString(w.key)
	require.NoError(t, err)
	return raw
}

func TestAnIssuedTokenSaysWhatItWasIssuedFor(t *testing.T) {
	w := newWorld(t)
	raw, issued, err := w.signer.Issue("Alice_1", "session", 7)
	require.NoError(t, err)
	require.Equal(t, "Alice_1", issued.Username)
	require.Equal(t, "alice_1", issued.Subject)
	require.Equal(t, "session", issued.SessionID)
	require.EqualValues(t, 7, issued.Generation)
	require.Equal(t, epoch.Truncate(time.Second), issued.IssuedAt)
	require.Equal(t, issued.IssuedAt.Add(lifetime), issued.ExpiresAt)

	read, err := w.verifier.Verify(raw)
	require.NoError(t, err)
	require.Equal(t, issued, read)
}

func TestNoTwoTokensShareAnID(t *testing.T) {
	w := newWorld(t)
	_, a, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	_, b, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	require.NotEqual(t, a.TokenID, b.TokenID)
	require.GreaterOrEqual(t, len(a.TokenID), 22, "16 bytes of randomness in base64")
}

func TestASignerRefusesWhatNoVerifierWouldTake(t *testing.T) {
	w := newWorld(t)
	for name, issue := range map[string]func() error{
		"no name":             func() error { _, _, err := w.signer.Issue("", "s", 0); return err },
		"a name with a dot":   func() error { _, _, err := w.signer.Issue("al.ice", "s", 0); return err },
		"no session":          func() error { _, _, err := w.signer.Issue("alice", "", 0); return err },
		"negative generation": func() error { _, _, err := w.signer.Issue("alice", "s", -1); return err },
	} {
		require.Error(t, issue(), name)
	}
	good := token.SignerConfig{Keys: token.NewKeyring(w.key), Issuer: issuer, Audience: audience, Lifetime: lifetime}
	_, err := token.NewSigner(good)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*token.SignerConfig){
		"no keys":          func(c *token.SignerConfig) { c.Keys = nil },
		"no issuer":        func(c *token.SignerConfig) { c.Issuer = "" },
		"no audience":      func(c *token.SignerConfig) { c.Audience = "" },
		"no lifetime":      func(c *token.SignerConfig) { c.Lifetime = 0 },
		"half a second":    func(c *token.SignerConfig) { c.Lifetime = 90*time.Second + time.Second/2 },
		"too long a life":  func(c *token.SignerConfig) { c.Lifetime = token.MaxLifetime + time.Second },
		"negative seconds": func(c *token.SignerConfig) { c.Lifetime = -time.Hour },
	} {
		bad := good
		spoil(&bad)
		_, err := token.NewSigner(bad)
		require.Error(t, err, name)
	}
}

func TestAVerifierNeedsKeysAnIssuerAndAnAudience(t *testing.T) {
	for _, cfg := range []token.VerifierConfig{
		{Issuer: issuer, Audience: audience},
		{Keys: token.NewKeySet(), Audience: audience},
		{Keys: token.NewKeySet(), Issuer: issuer},
	} {
		_, err := token.NewVerifier(cfg)
		require.Error(t, err)
	}
}

func TestEveryClaimIsRequiredAndChecked(t *testing.T) {
	w := newWorld(t)
	_, err := w.verifier.Verify(w.sign(t, w.goodClaims()))
	require.NoError(t, err)

	for claim := range w.goodClaims() {
		t.Run(claim+" missing", func(t *testing.T) {
			c := w.goodClaims()
			delete(c, claim)
			_, err := w.verifier.Verify(w.sign(t, c))
			require.ErrorIs(t, err, token.ErrInvalid)
		})
	}
	for name, change := range map[string]jwt.MapClaims{
		"another issuer":              {"iss": "https://elsewhere.example.test"},
		"another audience":            {"aud": "elsewhere"},
		"subject of somebody else":    {"sub": "bob"},
		"subject not canonical":       {"sub": "Alice"},
		"name that nobody can have":   {"sub": "al.ice", "username": "al.ice"},
		"empty token id":              {"jti": ""},
		"endless token id":            {"jti": strings.Repeat("x", 65)},
		"empty session id":            {"sid": ""},
		"negative generation":         {"gen": -1},
		"generation of another type":  {"gen": "3"},
		"null generation":             {"gen": nil},
		"expiry before the issue":     {"iat": w.now.Unix() + 20, "exp": w.now.Unix() + 10},
		"a longer life than any":      {"exp": w.now.Add(token.MaxLifetime + time.Minute).Unix()},
		"issued in the future":        {"iat": w.now.Add(token.Leeway + 2*time.Second).Unix()},
		"not good before its time":    {"nbf": w.now.Add(token.Leeway + 2*time.Second).Unix()},
		"expired and not ours either": {"iss": "x", "iat": w.now.Unix() - 7200, "exp": w.now.Unix() - 3600},
		"expired and without a jti":   {"jti": "", "iat": w.now.Unix() - 7200, "exp": w.now.Unix() - 3600},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.goodClaims()
			maps.Copy(c, change)
			_, err := w.verifier.Verify(w.sign(t, c))
			require.ErrorIs(t, err, token.ErrInvalid)
			require.NotErrorIs(t, err, token.ErrExpired)
		})
	}
}

// TestClocksMayBeAMinuteApart: the design allows that much between two nodes.
func TestClocksMayBeAMinuteApart(t *testing.T) {
	w := newWorld(t)
	raw, id, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	withNBF := w.goodClaims()
	withNBF["nbf"] = withNBF["iat"]
	for name, c := range map[string]struct {
		raw string
		now time.Time
	}{
		"issued by a clock that is 31 s ahead":     {raw, epoch.Add(-31 * time.Second)},
		"issued by a clock that is a minute ahead": {raw, epoch.Add(-time.Minute)},
		"not good before a minute":                 {w.sign(t, withNBF), epoch.Add(-time.Minute)},
		"read by a clock that is a minute ahead":   {raw, id.ExpiresAt.Add(time.Minute - time.Nanosecond)},
	} {
		t.Run(name, func(t *testing.T) {
			w.now = c.now
			for range 2 { // the second time it is cached
				_, err := w.verifier.Verify(c.raw)
				require.NoError(t, err)
			}
		})
	}
	require.LessOrEqual(t, token.Leeway, 2*time.Minute, "a token must not live for much longer than it says")
}

func TestClocksMayBeApartByTheLeewayAndNoMore(t *testing.T) {
	w := newWorld(t)
	raw, id, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	require.Equal(t, id.ExpiresAt.Add(token.Leeway), id.AcceptedUntil())
	for _, c := range []struct {
		name string
		now  time.Time
		want error
	}{
		{"just within, before the issue", id.IssuedAt.Add(-token.Leeway), nil},
		{"just beyond, before the issue", id.IssuedAt.Add(-token.Leeway - time.Nanosecond), token.ErrInvalid},
		{"just within, past the expiry", id.AcceptedUntil().Add(-time.Nanosecond), nil},
		{"just beyond, past the expiry", id.AcceptedUntil(), token.ErrExpired},
	} {
		w.now = c.now
		_, err := w.verifier.Verify(raw)
		require.ErrorIs(t, err, c.want, c.name)
		_, err = newWorld(t).at(c.now).Verify(raw) // one that has not cached it
		require.ErrorIs(t, err, c.want, c.name)
	}
}

// TestATokenThatWasGoodIsJudgedAgain: a cached token is still checked, except for its signature.
func TestATokenThatWasGoodIsJudgedAgain(t *testing.T) {
	w := newWorld(t)
	keys := &changingKeys{KeySet: token.NewKeySet(w.public())}
	v, err := token.NewVerifier(token.VerifierConfig{Keys: keys, Issuer: issuer, Audience: audience, Now: w.clock})
	require.NoError(t, err)
	raw, want, err := w.signer.Issue("Alice", "s", 3)
	require.NoError(t, err)
	for range 3 {
		id, err := v.Verify(raw)
		require.NoError(t, err)
		require.Equal(t, want, id)
	}
	_, err = v.Verify(raw[:len(raw)-4] + "AAAA")
	require.ErrorIs(t, err, token.ErrInvalid, "another signature under what is known")

	w.now = want.ExpiresAt.Add(token.Leeway)
	_, err = v.Verify(raw)
	require.ErrorIs(t, err, token.ErrExpired)
	w.now = epoch
	_, err = v.Verify(raw)
	require.NoError(t, err)
	other, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for what, set := range map[string]token.KeySet{"the key is gone": token.NewKeySet(other), "the name is another key's": namesake{other}} {
		keys.KeySet = set
		_, err = v.Verify(raw)
		require.ErrorIs(t, err, token.ErrInvalid, what)
	}
}

// changingKeys is a key set that a test can replace, like a fetched one.
type changingKeys struct{ token.KeySet }

// namesake returns its key for every id.
type namesake struct{ key ed25519.PublicKey }

func (n namesake) Key(string) (ed25519.PublicKey, bool) { return n.key, true }

func TestOnlyEd25519SignaturesOfKnownKeysAreGood(t *testing.T) {
	w := newWorld(t)
	kid := token.KeyID(w.public())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		method jwt.SigningMethod
		key    any
		kid    any
	}{
		{"no signature", jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid},
		{"HMAC with the public key", jwt.SigningMethodHS256, []byte(w.public()), kid},
		{"RSA", jwt.SigningMethodRS256, rsaKey, kid},
		{"a stranger's key under our id", jwt.SigningMethodEdDSA, stranger, kid},
		{"a stranger's key under its own id", jwt.SigningMethodEdDSA, stranger, token.KeyID(stranger.Public().(ed25519.PublicKey))},
		{"no key id", jwt.SigningMethodEdDSA, w.key, nil},
		{"a key id of another type", jwt.SigningMethodEdDSA, w.key, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := jwt.NewWithClaims(c.method, w.goodClaims())
			if c.kid != nil {
				tok.Header["kid"] = c.kid
			}
			raw, err := tok.SignedString(c.key)
			require.NoError(t, err)
			_, err = w.verifier.Verify(raw)
			require.ErrorIs(t, err, token.ErrInvalid)
		})
	}
}

func TestATokenHasOneSpelling(t *testing.T) {
	w := newWorld(t)
	raw, _, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	parts := strings.Split(raw, ".")
	for name, text := range map[string]string{
		"empty":                   "",
		"two parts":               parts[0] + "." + parts[1],
		"a line end in it":        parts[0] + "." + parts[1] + ".\n" + parts[2],
		"a space after it":        raw + " ",
		"padding":                 raw + "==",
		"other trailing bits":     raw[:len(raw)-1] + string(neighbour(raw[len(raw)-1])),
		"a NUL":                   raw + "\x00",
		"more than 8 KiB":         raw + strings.Repeat("A", 8<<10),
		"JSON with no claims set": parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("[]")) + "." + parts[2],
	} {
		_, err := w.verifier.Verify(text)
		require.ErrorIs(t, err, token.ErrInvalid, name)
	}
}

// neighbour returns the base64 digit that differs from c in the lowest bit only. The 64 bytes of a signature leave the low
// bits of the last digit unused, so a lenient decoder would read the same signature.
func neighbour(c byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[strings.IndexByte(digits, c)^1]
}

func FuzzOnlyIssuedTokensAreGood(f *testing.F) {
	w := newWorld(f)
	// Not an issued token, because its ids are random, and every fuzz worker must use the same token.
	raw := w.sign(f, w.goodClaims())
	issued, err := w.verifier.Verify(raw)
	require.NoError(f, err)
	parts := strings.Split(raw, ".")
	f.Add(raw)
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add(parts[0] + ".e30." + parts[2])
	f.Add("eyJhbGciOiJub25lIn0." + parts[1] + ".")
	f.Add("....")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := w.verifier.Verify(text)
		if err == nil {
			require.Equal(t, raw, text, "nothing else was signed")
			require.Equal(t, issued, id)
			return
		}
		require.ErrorIs(t, err, token.ErrInvalid)
	})
}
