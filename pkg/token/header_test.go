package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/token"
)

// signHeader makes a token with good claims and an arbitrary header, signed by key.
func (w *world) signHeader(t *testing.T, header string, key ed25519.PrivateKey) string {
	t.Helper()
	claims, err := json.Marshal(w.goodClaims())
	require.NoError(t, err)
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

func TestAHeaderThatAsksForWhatWeDoNotUnderstandIsRefused(t *testing.T) {
	w := newWorld(t)
	good := fmt.Sprintf(`"alg":"EdDSA","kid":%q`, token.KeyID(w.public()))
	for name, header := range map[string]string{
		"a critical extension":                   `{` + good + `,"crit":["exp"],"exp":1}`,
		"a critical extension that is not there": `{` + good + `,"crit":["http://example.test/x"]}`,
		"no critical extension in particular":    `{` + good + `,"crit":[]}`,
		"critical extensions of another type":    `{` + good + `,"crit":"exp"}`,
		"critical null":                          `{` + good + `,"crit":null}`,
		"crit in another spelling":               `{` + good + `,"cr\u0069t":["exp"]}`,
		"a payload that is not encoded":          `{` + good + `,"b64":false}`,
		"that, marked as critical":               `{` + good + `,"b64":false,"crit":["b64"]}`,
		"b64 at its default":                     `{` + good + `,"b64":true}`,
		"a compressed payload":                   `{` + good + `,"zip":"DEF"}`,
		"an encrypted token":                     `{` + good + `,"enc":"A128GCM"}`,
		"another kind of token":                  `{` + good + `,"typ":"dpop+jwt"}`,
		"a kind of another type":                 `{` + good + `,"typ":7}`,
		"no kind":                                `{` + good + `,"typ":null}`,
		"a key id twice":                         `{"kid":"x",` + good + `}`,
		"an algorithm twice":                     `{"alg":"none",` + good + `}`,
		"a name twice that nobody reads":         `{` + good + `,"x":[1,{"x":2}],"x":3}`,
		"a name twice, once in another spelling": `{"\u0061lg":"none",` + good + `}`,
		"no algorithm":                           `{"kid":"` + token.KeyID(w.public()) + `"}`,
		"the algorithm none":                     `{"alg":"none","kid":"` + token.KeyID(w.public()) + `"}`,
		"the algorithm none in capitals":         `{"alg":"NONE","kid":"` + token.KeyID(w.public()) + `"}`,
		"the algorithm in another case":          `{"alg":"eddsa","kid":"` + token.KeyID(w.public()) + `"}`,
		"an algorithm of another type":           `{"alg":["EdDSA"],"kid":"` + token.KeyID(w.public()) + `"}`,
		"something after the header":             `{` + good + `}{}`,
		"a header that is a list":                `[` + `"EdDSA"` + `]`,
		"a header that is null":                  `null`,
		"an empty header":                        ``,
		"the name alg in capitals":               `{"ALG":"EdDSA","kid":"` + token.KeyID(w.public()) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verifier.Verify(w.signHeader(t, header, w.key))
			require.ErrorIs(t, err, token.ErrInvalid)
			require.NotErrorIs(t, err, token.ErrExpired)
		})
	}
}

// TestAHeaderMayHaveWhatDoesNotMatter: RFC 7515 demands that unknown parameters be ignored. A later version of the signer may add some.
func TestAHeaderMayHaveWhatDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	good := fmt.Sprintf(`"alg":"EdDSA","kid":%q`, token.KeyID(w.public()))
	for _, header := range []string{
		`{` + good + `}`,
		`{` + good + `,"typ":"JWT"}`,
		`{` + good + `,"typ":"jwt"}`,
		`{` + good + `,"x":[1,{"x":2,"alg":"none"}],"y":null}`,
	} {
		_, err := w.verifier.Verify(w.signHeader(t, header, w.key))
		require.NoError(t, err, header)
	}
}

func TestAKeyThatATokenBringsAlongIsNotUsed(t *testing.T) {
	w := newWorld(t)
	public, stranger, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	jwk := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, base64.RawURLEncoding.EncodeToString(public))
	for _, kid := range []string{token.KeyID(w.public()), token.KeyID(public), ""} {
		for _, brought := range []string{`"jwk":` + jwk, `"jku":"https://example.test/jwks.json"`, `"x5u":"https://example.test/x"`, `"x5c":["AA=="]`} {
			_, err := w.verifier.Verify(w.signHeader(t, fmt.Sprintf(`{"alg":"EdDSA","kid":%q,%s}`, kid, brought), stranger))
			require.ErrorIs(t, err, token.ErrInvalid, "%s %s", kid, brought)
		}
	}
}
