package publickey_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
)

func modulus(bits int) *big.Int { return publickeytest.Modulus(bits, 0) }

func derOf(t testing.TB, n *big.Int, e int) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: e})
	require.NoError(t, err)
	return der
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func good(t testing.TB) string { return block("PUBLIC KEY", derOf(t, modulus(2048), 65537)) }

func TestAGoodKeyIsTakenInItsCanonicalForm(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096, 8192} {
		der := derOf(t, modulus(bits), 65537)
		text := block("PUBLIC KEY", der)
		for _, spelling := range []string{
			text,
			"\r\n \t" + text + "\n\n",
			strings.TrimSpace(text),
			strings.ReplaceAll(text, "\n", "\r\n"),
		} {
			key, err := publickey.Parse(spelling)
			require.NoError(t, err)
			sum := sha256.Sum256(der)
			require.Equal(t, publickey.Key{PEM: text, Fingerprint: hex.EncodeToString(sum[:]), Bits: bits}, key)
		}
	}
}

func TestAGeneratedKeyIsTaken(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, err = publickey.Parse(block("PUBLIC KEY", derOf(t, private.N, private.E)))
	require.NoError(t, err)
}

func TestEverythingElseIsRefused(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecDER, err := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	require.NoError(t, err)
	der := derOf(t, modulus(2048), 65537)
	text := good(t)
	inner := strings.TrimPrefix(text, "-----BEGIN PUBLIC KEY-----\n")
	for name, bad := range map[string]string{
		"nothing":                   "",
		"white space":               " \n",
		"no PEM":                    "key",
		"base64 without a frame":    strings.Split(text, "\n")[1],
		"two keys":                  text + text,
		"text before":               "my key:\n" + text,
		"text behind":               text + "thanks",
		"a NUL behind":              text + "\x00",
		"headers":                   "-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n\n" + inner,
		"a broken block before":     "-----BEGIN PUBLIC KEY-----\n!\n" + text,
		"no end":                    strings.Split(text, "-----END")[0],
		"another end":               strings.Replace(text, "END PUBLIC", "END OTHER", 1),
		"PKCS #1":                   block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: modulus(2048), E: 65537})),
		"PKCS #1 named SPKI":        block("PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: modulus(2048), E: 65537})),
		"a certificate":             block("CERTIFICATE", der),
		"another algorithm":         block("PUBLIC KEY", ecDER),
		"bytes behind the DER":      block("PUBLIC KEY", append(append([]byte{}, der...), 0)),
		"cut short":                 block("PUBLIC KEY", der[:len(der)-1]),
		"too few bits":              block("PUBLIC KEY", derOf(t, modulus(2047), 65537)),
		"too many bits":             block("PUBLIC KEY", derOf(t, modulus(8193), 65537)),
		"an even modulus":           block("PUBLIC KEY", derOf(t, new(big.Int).Sub(modulus(2048), big.NewInt(1)), 65537)),
		"exponent 1":                block("PUBLIC KEY", derOf(t, modulus(2048), 1)),
		"an even exponent":          block("PUBLIC KEY", derOf(t, modulus(2048), 65536)),
		"a giant exponent":          block("PUBLIC KEY", derOf(t, modulus(2048), 1<<31+1)),
		"more than 8 KiB":           text + strings.Repeat("\n", api.MaxPublicKeyBytes),
		"zero bytes in the modulus": block("PUBLIC KEY", padded(t)),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := publickey.Parse(bad)
			require.ErrorIs(t, err, publickey.ErrInvalid)
			require.NotErrorIs(t, err, publickey.ErrPrivateKey)
			require.Zero(t, key)
		})
	}
}

// padded is an SPKI whose BIT STRING claims unused bits: another encoding of the same key.
func padded(t *testing.T) []byte {
	t.Helper()
	type spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	var s spki
	_, err := asn1.Unmarshal(derOf(t, modulus(2048), 65537), &s)
	require.NoError(t, err)
	s.Key.Bytes = append(s.Key.Bytes, 0)
	s.Key.BitLength += 8
	der, err := asn1.Marshal(s)
	require.NoError(t, err)
	return der
}

func TestAPrivateKeyIsRefusedAsSuchWhereverItStands(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"PKCS #8":             block("PRIVATE KEY", pkcs8),
		"PKCS #1":             block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)),
		"encrypted":           block("ENCRYPTED PRIVATE KEY", pkcs8),
		"behind a public key": good(t) + block("PRIVATE KEY", pkcs8),
		"in small letters":    good(t) + "-----begin private key-----",
	} {
		_, err := publickey.Parse(text)
		require.ErrorIs(t, err, publickey.ErrPrivateKey, name)
		require.ErrorIs(t, err, publickey.ErrInvalid, name)
	}
	_, err = publickey.Parse(block("PUBLIC KEY", pkcs8))
	require.ErrorIs(t, err, publickey.ErrInvalid, "a private key named public")
}

func FuzzWhatPassesIsCanonical(f *testing.F) {
	f.Add(good(f))
	f.Add("\n" + good(f) + "\r\n")
	f.Add(block("RSA PUBLIC KEY", derOf(f, modulus(2048), 3)))
	f.Add("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := publickey.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, publickey.ErrInvalid)
			return
		}
		again, err := publickey.Parse(key.PEM)
		require.NoError(t, err, "what was handed out is taken back")
		require.Equal(t, key, again)
		require.Equal(t, 1, strings.Count(key.PEM, "-----BEGIN"))
		require.GreaterOrEqual(t, key.Bits, publickey.MinBits)
		require.LessOrEqual(t, key.Bits, publickey.MaxBits)
	})
}
