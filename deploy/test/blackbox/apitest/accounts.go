package apitest

import (
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
)

// tokenLifetime is the default of JWT_EXPIRATION.
const tokenLifetime = 24 * time.Hour

// soon bounds the clock difference between the suite and a deployment, plus the time of a request.
const soon = time.Minute

func registration(d *deployment) []claim {
	return []claim{
		{"opens an account and its first session", func(t *testing.T) {
			u := user{d: d, name: d.name("Ann"), password: "correct horse", key: d.keys[1]}
			session := into[api.SessionResponse](t, d.must(t, call{path: "/api/auth/register", json: u.registration()}), http.StatusCreated)
			require.Equal(t, u.name, session.Username)
			require.WithinDuration(t, time.Now().Add(tokenLifetime), session.ExpiresAt.Time, soon)
			u.token = session.Token
			profile := u.profile(t)
			require.Equal(t, u.name, profile.Username)
			require.Equal(t, u.key.pem, profile.PublicKey)
			require.Equal(t, 1, profile.KeyVersion)
			require.WithinDuration(t, time.Now(), profile.CreatedAt.Time, soon)
			require.WithinDuration(t, time.Now(), profile.LastLogin.Time, soon)
		}},
		{"takes a name once, whatever its case", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, name := range []string{u.name, strings.ToLower(u.name), strings.ToUpper(u.name)} {
				again := *u
				again.name = name
				a := d.must(t, call{path: "/api/auth/register", json: again.registration()})
				require.Equal(t, "username", a.refused(t, http.StatusConflict, api.CodeUsernameTaken).Field)
			}
		}},
		{"gives a name to one of many who want it at once", func(t *testing.T) {
			name := d.name("Ann")
			var opened, refused atomic.Int64
			var all errgroup.Group
			for i := range 16 {
				u := user{name: name, password: "correct horse", key: d.keys[i%len(d.keys)]}
				if i%2 == 0 {
					u.name = strings.ToUpper(name)
				}
				all.Go(func() error {
					a, err := d.do(t.Context(), call{path: "/api/auth/register", json: u.registration()})
					switch a.status {
					case http.StatusCreated:
						opened.Add(1)
					case http.StatusConflict:
						refused.Add(1)
					}
					return err
				})
			}
			require.NoError(t, all.Wait())
			require.EqualValues(t, 1, opened.Load())
			require.EqualValues(t, 15, refused.Load())
		}},
		{"takes names of 3 to 30 characters", func(t *testing.T) {
			longest := d.name("Ann_")
			longest += strings.Repeat("x", 30-len(longest))
			d.tryName(t, longest, "")
			d.tryName(t, longest+"x", api.CodeInvalidField)
			d.tryName(t, d.run[:3], "")
			d.tryName(t, d.run[:2], api.CodeInvalidField)
			d.tryName(t, "__proto__"+d.run, "") // a name like any other
		}},
		{"takes passwords of 8 to 1024 bytes", func(t *testing.T) {
			for password, code := range map[string]api.Code{
				"1234567": api.CodeWeakPassword, "ééé1": api.CodeWeakPassword, "12345678": "", "éééé": "",
				strings.Repeat("p", 1024): "", strings.Repeat("p", 1025): api.CodeInvalidField, strings.Repeat("é", 513): api.CodeInvalidField,
			} {
				u := user{d: d, name: d.name("Ann"), password: password, key: d.keys[0]}
				a := d.must(t, call{path: "/api/auth/register", json: u.registration()})
				if code != "" {
					a.refusedField(t, code, "password")
					continue
				}
				into[api.SessionResponse](t, a, http.StatusCreated)
				u.login(t)
			}
		}},
		{"takes RSA keys of 2048 to 8192 bits", func(t *testing.T) {
			for bits, good := range map[int]bool{2047: false, 2048: true, 3072: true, 4096: true, 8192: true, 8193: false} {
				d.tryKey(t, newPublicKey(&rsa.PublicKey{N: modulus(bits), E: 65537}).pem, good)
			}
		}},
		{"takes keys of up to 8 KiB of text", func(t *testing.T) {
			key := d.keys[2].pem
			padded := key + strings.Repeat("\n", 8192-len(key))
			d.tryKey(t, padded, true)
			d.tryKey(t, padded+"\n", false)
		}},
		{"takes a key with the line ends and the surrounding space of any platform", func(t *testing.T) {
			u := user{d: d, name: d.name("Ann"), password: "correct horse", key: d.keys[2]}
			u.key.pem = " \r\n" + strings.ReplaceAll(u.key.pem, "\n", "\r\n") + "\t\n"
			into[api.SessionResponse](t, d.must(t, call{path: "/api/auth/register", json: u.registration()}), http.StatusCreated)
			require.Equal(t, d.keys[2].fingerprint, d.keyOf(t, u.name).Fingerprint)
			require.Equal(t, d.keys[2].pem, d.keyOf(t, u.name).PublicKey)
		}},
	}
}

// tryName registers a name, which must succeed, or, with a code, be refused.
func (d *deployment) tryName(t *testing.T, name string, code api.Code) {
	t.Helper()
	a := d.must(t, call{path: "/api/auth/register", json: (&user{name: name, password: "correct horse", key: d.keys[0]}).registration()})
	if code != "" {
		a.refusedField(t, code, "username")
		return
	}
	require.Equal(t, name, into[api.SessionResponse](t, a, http.StatusCreated).Username)
}

// tryKey registers with a key, which must be accepted if good, and else refused.
func (d *deployment) tryKey(t *testing.T, text string, good bool) {
	t.Helper()
	u := user{name: d.name("Ann"), password: "correct horse", key: publicKey{pem: text}}
	a := d.must(t, call{path: "/api/auth/register", json: u.registration()})
	if !good {
		a.refusedField(t, api.CodeInvalidPublicKey, "publicKey")
		return
	}
	into[api.SessionResponse](t, a, http.StatusCreated)
}

// modulus is one of that many bits.
func modulus(bits int) *big.Int { return publickeytest.Modulus(bits, 0) }

func login(d *deployment) []claim {
	attempt := func(t *testing.T, name, password string) answer {
		t.Helper()
		return d.must(t, call{path: "/api/auth/login", json: api.LoginRequest{Username: name, Password: password}})
	}
	return []claim{
		{"opens a session of its own", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			before := u.profile(t)
			session := into[api.SessionResponse](t, attempt(t, u.name, u.password), http.StatusOK)
			require.NotEqual(t, u.token, session.Token)
			require.NotEqual(t, claimsOf(t, u.token)["sid"], claimsOf(t, session.Token)["sid"])
			require.WithinDuration(t, time.Now().Add(tokenLifetime), session.ExpiresAt.Time, soon)
			after := u.profile(t)
			require.True(t, after.LastLogin.After(before.LastLogin.Time), "%s is not after %s", after.LastLogin, before.LastLogin)
			require.Equal(t, before.CreatedAt, after.CreatedAt)
		}},
		{"takes the name in any case and answers with it as registered", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, name := range []string{strings.ToLower(u.name), strings.ToUpper(u.name)} {
				require.Equal(t, u.name, into[api.SessionResponse](t, attempt(t, name, u.password), http.StatusOK).Username)
			}
		}},
		{"does not tell an unknown name from a wrong password", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			unknown := attempt(t, d.name("Nemo"), u.password).refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			wrong := attempt(t, u.name, u.password+"!").refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			impossible := attempt(t, "no name at all", u.password).refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			require.Equal(t, unknown.Message, wrong.Message)
			require.Equal(t, unknown.Message, impossible.Message)
		}},
		{"compares the whole password, in its case", func(t *testing.T) {
			u := user{d: d, name: d.name("Ann"), password: strings.Repeat("p", 1023) + "q", key: d.keys[0]}
			into[api.SessionResponse](t, d.must(t, call{path: "/api/auth/register", json: u.registration()}), http.StatusCreated)
			u.login(t)
			for _, other := range []string{u.password[:1023], u.password + "q", strings.ToUpper(u.password), u.password + " ", strings.Repeat("p", 60_000)} {
				attempt(t, u.name, other).refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			}
		}},
	}
}

// guarded are the routes of all services that need a token. Those with a body get an empty object.
var guarded = []string{
	"GET /api/auth/profile", "POST /api/auth/logout", "POST /api/auth/logout-all", "POST /api/auth/password",
	"GET /api/keys/users", "GET /api/users/public-keys", "POST /api/users/update-key",
	"POST /api/messages/send", "GET /api/messages/history", "GET /api/messages/all-messages", "GET /api/messages/status",
	"GET /api/messages/6733a0c41f2e9b7d5c8a4e10", "POST /api/messages/6733a0c41f2e9b7d5c8a4e10/read",
	"GET /api/messages/poll", "GET /api/messages/poll?after=0", "GET /api/messages/stream",
}

// requireRefused requires that every route refuses the token.
func (d *deployment) requireRefused(t *testing.T, token string, code api.Code) {
	t.Helper()
	for _, route := range guarded {
		d.requireRefusedAt(t, route, token, code)
	}
}

// requireRefusedByEach is requireRefused for one route of each service.
func (d *deployment) requireRefusedByEach(t *testing.T, token string, code api.Code) {
	t.Helper()
	for _, route := range []string{"GET /api/auth/profile", "GET /api/keys/users", "GET /api/messages/history", "GET /api/messages/poll"} {
		d.requireRefusedAt(t, route, token, code)
	}
}

func (d *deployment) requireRefusedAt(t *testing.T, route, token string, code api.Code) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	c := call{method: method, path: path, token: token}
	if method == http.MethodPost {
		c.body = []byte("{}")
	}
	d.must(t, c).refused(t, http.StatusUnauthorized, code)
}

func sessions(d *deployment) []claim {
	return []claim{
		{"end with a logout, everywhere and at once, and the account's others go on", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			other := u.login(t)
			into[api.MessageResponse](t, u.post(t, "/api/auth/logout", nil), http.StatusOK)
			d.requireRefused(t, u.token, api.CodeTokenRevoked)
			require.Equal(t, u.name, other.profile(t).Username)
			u.login(t).profile(t)
		}},
		{"end all at once with logout-all", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			other, stranger := u.login(t), d.newUser(t, "Eve")
			into[api.MessageResponse](t, u.post(t, "/api/auth/logout-all", nil), http.StatusOK)
			d.requireRefused(t, u.token, api.CodeTokenRevoked)
			d.requireRefused(t, other.token, api.CodeTokenRevoked)
			u.login(t).profile(t)
			stranger.profile(t)
		}},
		{"are told good or not by verify, to anybody", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			verify := func(token string) answer {
				return d.must(t, call{path: "/api/auth/verify", json: api.VerifyRequest{Token: token}})
			}
			good := into[api.VerifyResponse](t, verify(u.token), http.StatusOK)
			require.True(t, good.Valid)
			require.Equal(t, u.name, good.Username)
			require.EqualValues(t, claimsOf(t, u.token)["exp"], good.ExpiresAt.Unix())

			into[api.MessageResponse](t, u.post(t, "/api/auth/logout", nil), http.StatusOK)
			for _, useless := range []string{u.token, "x", "a.b.c", strings.Repeat("a", 9000)} {
				a := verify(useless)
				require.JSONEq(t, `{"valid":false}`, string(a.body))
				require.Equal(t, http.StatusUnauthorized, a.status)
			}
			verify("").refusedField(t, api.CodeMissingField, "token")
		}},
	}
}

func passwordChange(d *deployment) []claim {
	change := func(t *testing.T, u *user, current, next string) answer {
		t.Helper()
		return u.post(t, "/api/auth/password", api.PasswordRequest{CurrentPassword: current, NewPassword: next})
	}
	return []claim{
		{"hands out the only token that is good from then on", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			other := u.login(t)
			session := into[api.SessionResponse](t, change(t, u, u.password, "another horse"), http.StatusOK)
			require.Empty(t, session.Username)
			require.WithinDuration(t, time.Now().Add(tokenLifetime), session.ExpiresAt.Time, soon)
			d.requireRefused(t, u.token, api.CodeTokenRevoked)
			d.requireRefused(t, other.token, api.CodeTokenRevoked)
			d.must(t, call{path: "/api/auth/login", json: api.LoginRequest{Username: u.name, Password: u.password}}).
				refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			u.token, u.password = session.Token, "another horse"
			u.profile(t)
			u.login(t).profile(t)
		}},
		{"needs the current password", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			change(t, u, "not the password", "another horse").refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			u.profile(t)
			u.login(t)
		}},
		{"keeps to the limits of a registration", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			change(t, u, u.password, "1234567").refusedField(t, api.CodeWeakPassword, "newPassword")
			change(t, u, u.password, strings.Repeat("p", 1025)).refusedField(t, api.CodeInvalidField, "newPassword")
			u.token = into[api.SessionResponse](t, change(t, u, u.password, strings.Repeat("p", 1024)), http.StatusOK).Token
			u.token = into[api.SessionResponse](t, change(t, u, strings.Repeat("p", 1024), "12345678"), http.StatusOK).Token
			u.profile(t)
		}},
		{"lets one of several at once win", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			var changed atomic.Int64
			var all errgroup.Group
			for i := range 6 {
				all.Go(func() error {
					a, err := d.do(t.Context(), call{path: "/api/auth/password", token: u.token, json: api.PasswordRequest{
						CurrentPassword: u.password, NewPassword: strings.Repeat("p", 10+i),
					}})
					if a.status == http.StatusOK {
						changed.Add(1)
					} else if err == nil {
						_, err = decode[api.Error](a, http.StatusUnauthorized)
					}
					return err
				})
			}
			require.NoError(t, all.Wait())
			require.EqualValues(t, 1, changed.Load())
		}},
	}
}

// claimsOf reads the claims of a token without checking it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	var claims map[string]any
	require.NoError(t, json.Unmarshal(part(t, token, 1), &claims))
	return claims
}
