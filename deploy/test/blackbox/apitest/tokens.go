package apitest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// part decodes one of the three parts of a token.
func part(t *testing.T, token string, i int) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	text, err := base64.RawURLEncoding.DecodeString(parts[i])
	require.NoError(t, err)
	return text
}

func tokens(d *deployment) []claim {
	return []claim{
		{"are JWTs that the published keys verify", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			key := d.publishedKey(t, u.token)
			signed, _, _ := cutLast(u.token)
			require.True(t, ed25519.Verify(key, []byte(signed), part(t, u.token, 2)))
		}},
		{"say who issued them to whom, for whom and for how long", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			claims := claimsOf(t, u.token)
			require.Equal(t, u.canonical(), claims["sub"])
			require.Equal(t, u.name, claims["username"])
			for _, name := range []string{"iss", "aud", "jti", "sid"} {
				require.NotEmpty(t, claims[name], name)
			}
			issued, expires := claims["iat"].(float64), claims["exp"].(float64)
			require.InDelta(t, time.Now().Unix(), issued, soon.Seconds())
			require.InDelta(t, tokenLifetime.Seconds(), expires-issued, 0)
		}},
		{"that the deployment did not issue are good for nothing", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, f := range d.forgeries(t, u) {
				t.Run(f.name, func(t *testing.T) {
					d.requireRefusedByEach(t, f.token, f.code)
					a := d.must(t, call{path: "/api/auth/verify", json: api.VerifyRequest{Token: f.token}})
					require.False(t, into[api.VerifyResponse](t, a, http.StatusUnauthorized).Valid)
				})
			}
		}},
		{"are not asked for where no secret is told", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, path := range []string{
				"/api/health", "/api/openapi.yaml", "/.well-known/jwks.json", "/api/keys/server-public",
				"/api/keys/user/" + u.name, "/api/keys/user/" + u.name + "/history",
			} {
				require.Equal(t, http.StatusOK, d.must(t, call{path: path}).status, path)
				// An invalid token does no harm there either.
				require.Equal(t, http.StatusOK, d.must(t, call{path: path, token: "x"}).status, path)
			}
		}},
		{"are asked for everywhere else", func(t *testing.T) {
			d.requireRefused(t, "", api.CodeNoToken)
			u := d.newUser(t, "Ann")
			for _, header := range []string{"Basic dTpw", "Bearer", "Bearer ", u.token, "Bearer" + u.token, "Token " + u.token} {
				d.must(t, call{path: "/api/auth/profile", header: map[string]string{"Authorization": header}}).
					refused(t, http.StatusUnauthorized, api.CodeNoToken)
			}
			// The scheme is case-insensitive (RFC 9110, section 11.1).
			a := d.must(t, call{path: "/api/auth/profile", header: map[string]string{"Authorization": "bearer " + u.token}})
			into[api.ProfileResponse](t, a, http.StatusOK)
			// Tokens are not accepted from where logs and histories keep them.
			d.must(t, call{path: "/api/auth/profile?token=" + u.token}).refused(t, http.StatusUnauthorized, api.CodeNoToken)
			d.must(t, call{path: "/api/auth/profile?access_token=" + u.token}).refused(t, http.StatusUnauthorized, api.CodeNoToken)
		}},
	}
}

// publishedKey is the key that a token names, as the deployment publishes it.
func (d *deployment) publishedKey(t *testing.T, token string) ed25519.PublicKey {
	t.Helper()
	var header struct{ Alg, Typ, Kid string }
	require.NoError(t, json.Unmarshal(part(t, token, 0), &header))
	require.Equal(t, "EdDSA", header.Alg)
	set := into[api.JWKS](t, d.must(t, call{path: "/.well-known/jwks.json"}), http.StatusOK)
	for _, key := range set.Keys {
		if key.KeyID == header.Kid {
			x, err := base64.RawURLEncoding.DecodeString(key.X)
			require.NoError(t, err)
			return x
		}
	}
	require.Fail(t, "the token's key is not published", header.Kid)
	return nil
}

// forgery is a token that must be refused, and how.
type forgery struct {
	name  string
	token string
	code  api.Code
}

// forgeries are made from a valid token of the victim with public knowledge, and, if the target provides it, with the deployment's own key.
func (d *deployment) forgeries(t *testing.T, victim *user) []forgery {
	t.Helper()
	var header map[string]any
	require.NoError(t, json.Unmarshal(part(t, victim.token, 0), &header))
	claims := claimsOf(t, victim.token)
	published := d.publishedKey(t, victim.token)
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)

	withAlg := func(alg string) map[string]any { return changed(header, "alg", alg) }
	signed, signature, _ := cutLast(victim.token)
	flipped := []byte(signature)
	flipped[10] ^= 1
	list := []forgery{
		{"no JWT", "good-day", api.CodeInvalidToken},
		{"three dots", "...", api.CodeInvalidToken},
		{"without a signature", signed + ".", api.CodeInvalidToken},
		{"without the third part", signed, api.CodeInvalidToken},
		{"with a fourth part", victim.token + ".x", api.CodeInvalidToken},
		{"with another signature", signed + "." + string(flipped), api.CodeInvalidToken},
		{"padded", victim.token + "=", api.CodeInvalidToken},
		{"too long", victim.token + strings.Repeat("A", 9000), api.CodeInvalidToken},
		{"alg none", unsigned(withAlg("none"), claims), api.CodeInvalidToken},
		{"alg None", unsigned(withAlg("None"), claims), api.CodeInvalidToken},
		{"alg empty", unsigned(withAlg(""), claims), api.CodeInvalidToken},
		{"HS256 with the public key as its secret", hs256(withAlg("HS256"), claims, published), api.CodeInvalidToken},
		{"HS256 with an empty secret", hs256(withAlg("HS256"), claims, nil), api.CodeInvalidToken},
		{"RS256", rs256(t, withAlg("RS256"), claims), api.CodeInvalidToken},
		{"by another key under the same kid", eddsa(header, claims, foreign), api.CodeInvalidToken},
		{"by another key that it brings along", eddsa(changed(header, "jwk", map[string]string{
			"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(foreign.Public().(ed25519.PublicKey)),
		}), claims, foreign), api.CodeInvalidToken},
		{"of another user, under the old signature", replaceClaims(victim.token, changed(claims, "username", "root")), api.CodeInvalidToken},
	}
	if d.SigningKey == nil {
		return list
	}
	return append(list, d.misissued(header, claims)...)
}

// misissued are tokens with a valid signature whose content is not valid.
func (d *deployment) misissued(header, claims map[string]any) []forgery {
	mint := func(header, claims map[string]any) string { return eddsa(header, claims, d.SigningKey) }
	now := time.Now().Unix()
	aged := changed(changed(claims, "iat", now-7200), "exp", now-3600)
	list := []forgery{
		{"expired", mint(header, aged), api.CodeTokenExpired},
		{"expired, and for somebody else", mint(header, changed(aged, "aud", "somebody else")), api.CodeInvalidToken},
		{"good for a century", mint(header, changed(claims, "exp", now+3600*24*36525)), api.CodeInvalidToken},
		{"issued tomorrow", mint(header, changed(changed(claims, "iat", now+86400), "exp", now+2*86400)), api.CodeInvalidToken},
		{"not good before tomorrow", mint(header, changed(claims, "nbf", now+86400)), api.CodeInvalidToken},
		{"of another issuer", mint(header, changed(claims, "iss", "somebody else")), api.CodeInvalidToken},
		{"for another audience", mint(header, changed(claims, "aud", "somebody else")), api.CodeInvalidToken},
		{"with a kid nobody knows", mint(changed(header, "kid", "x"), claims), api.CodeInvalidToken},
		{"with a kid that is a path", mint(changed(header, "kid", "../../dev/null"), claims), api.CodeInvalidToken},
		{"with a kid that is no text", mint(changed(header, "kid", 5), claims), api.CodeInvalidToken},
		{"with two names", mint(header, changed(claims, "username", "somebody_else")), api.CodeInvalidToken},
		{"with a name nobody can have", mint(header, changed(changed(claims, "username", "a.*"), "sub", "a.*")), api.CodeInvalidToken},
		{"with a text for a time", mint(header, changed(claims, "exp", "tomorrow")), api.CodeInvalidToken},
		{"of a negative generation", mint(header, changed(claims, "gen", -1)), api.CodeInvalidToken},
	}
	for _, name := range []string{"iss", "aud", "sub", "username", "jti", "sid", "gen", "iat", "exp"} {
		list = append(list, forgery{"without " + name, mint(header, changed(claims, name, nil)), api.CodeInvalidToken})
	}
	return append(list, forgery{"without a kid", mint(changed(header, "kid", nil), claims), api.CodeInvalidToken})
}

// changed copies a header or claims with one value replaced, or removed if nil.
func changed(from map[string]any, name string, value any) map[string]any {
	to := maps.Clone(from)
	to[name] = value
	if value == nil {
		delete(to, name)
	}
	return to
}

func cutLast(token string) (signed, signature string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return token, "", false
	}
	return token[:i], token[i+1:], true
}

func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of texts and numbers: it cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func unsigned(header, claims map[string]any) string {
	return encoded(header) + "." + encoded(claims) + "."
}

func withSignature(header, claims map[string]any, sign func(text []byte) []byte) string {
	text := encoded(header) + "." + encoded(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(text)))
}

func eddsa(header, claims map[string]any, key ed25519.PrivateKey) string {
	return withSignature(header, claims, func(text []byte) []byte { return ed25519.Sign(key, text) })
}

func hs256(header, claims map[string]any, secret []byte) string {
	return withSignature(header, claims, func(text []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(text)
		return mac.Sum(nil)
	})
}

func rs256(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return withSignature(header, claims, func(text []byte) []byte {
		digest := sha256.Sum256(text)
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		require.NoError(t, err)
		return signature
	})
}

// replaceClaims replaces a token's claims, and keeps its signature.
func replaceClaims(token string, claims map[string]any) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + encoded(claims) + "." + parts[2]
}

// headerOf reads the header of a token.
func headerOf(t *testing.T, token string) map[string]any {
	t.Helper()
	var header map[string]any
	require.NoError(t, json.Unmarshal(part(t, token, 0), &header))
	return header
}
