package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/token"
)

func TestTokensOfTheKeyBeforeStayGoodThroughARotation(t *testing.T) {
	before, after := newWorld(t), newWorld(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	after.signer, err = token.NewSigner(token.SignerConfig{Keys: token.NewKeyring(key), Issuer: issuer, Audience: audience, Lifetime: lifetime, Now: after.clock})
	require.NoError(t, err)
	both, err := token.NewVerifier(token.VerifierConfig{
		Keys: token.NewKeySet(before.public(), key.Public().(ed25519.PublicKey)), Issuer: issuer, Audience: audience, Now: after.clock,
	})
	require.NoError(t, err)
	for _, s := range []*token.Signer{before.signer, after.signer} {
		raw, _, err := s.Issue("alice", "s", 0)
		require.NoError(t, err)
		_, err = both.Verify(raw)
		require.NoError(t, err)
	}
}

func TestThePublishedKeySetVerifies(t *testing.T) {
	w := newWorld(t)
	text, err := json.Marshal(token.NewKeySet(w.public()).JWKS())
	require.NoError(t, err)
	var published api.JWKS
	require.NoError(t, json.Unmarshal(text, &published))
	require.Equal(t, "OKP", published.Keys[0].KeyType)
	require.Equal(t, "EdDSA", published.Keys[0].Algorithm)

	keys, err := token.ParseJWKS(published)
	require.NoError(t, err)
	v, err := token.NewVerifier(token.VerifierConfig{Keys: keys, Issuer: issuer, Audience: audience, Now: w.clock})
	require.NoError(t, err)
	raw, _, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	_, err = v.Verify(raw)
	require.NoError(t, err)
}

func TestAKeySetWithAnythingElseInItIsRefused(t *testing.T) {
	good := token.NewKeySet(newWorld(t).public()).JWKS().Keys[0]
	for name, spoil := range map[string]func(*api.JWK){
		"another type":  func(k *api.JWK) { k.KeyType = "RSA" },
		"another curve": func(k *api.JWK) { k.Curve = "X25519" },
		"short":         func(k *api.JWK) { k.X = k.X[:20] },
		"not base64":    func(k *api.JWK) { k.X = "!" },
		"another id":    func(k *api.JWK) { k.KeyID = "x" },
	} {
		bad := good
		spoil(&bad)
		_, err := token.ParseJWKS(api.JWKS{Keys: []api.JWK{bad}})
		require.Error(t, err, name)
	}
}

// The example of RFC 8037, appendix A.3.
func TestKeyIDIsTheThumbprintOfRFC8037(t *testing.T) {
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	require.NoError(t, err)
	require.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", token.KeyID(x))
}

func TestASigningKeySurvivesItsEncoding(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	read, err := token.ParsePrivateKey(text)
	require.NoError(t, err)
	require.True(t, key.Equal(read))
}

func TestOnlyAnEd25519KeySigns(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(p256)
	require.NoError(t, err)
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	good, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	for name, text := range map[string][]byte{
		"nothing":          nil,
		"no PEM":           []byte("secret"),
		"another block":    block("PUBLIC KEY", der),
		"another kind":     block("PRIVATE KEY", der),
		"not PKCS #8":      block("PRIVATE KEY", []byte("junk")),
		"something behind": append(good, "more"...),
	} {
		_, err := token.ParsePrivateKey(text)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret")
	}
}
