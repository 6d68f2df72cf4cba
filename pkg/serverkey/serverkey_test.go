package serverkey_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/serverkey"
)

func TestThePublicHalfIsAKeyThatClientsAreHanded(t *testing.T) {
	pair, err := serverkey.New()
	require.NoError(t, err)
	public, err := serverkey.Public(pair)
	require.NoError(t, err)
	key, err := publickey.Parse(public)
	require.NoError(t, err)
	require.Equal(t, serverkey.Bits, key.Bits)
}

func TestWhatIsNoKeyPairOfTheLengthIsRefused(t *testing.T) {
	encode := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, text := range map[string][]byte{
		"nothing": nil, "text": []byte("key"), "short": encode(short), "another kind": encode(curve),
		"another form": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(short)}),
	} {
		_, err := serverkey.Public(text)
		require.Error(t, err, name)
	}
}
