package apitest

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/api"
)

// keyOf fetches a user's key without a token.
func (d *deployment) keyOf(t *testing.T, name string) api.UserKeyResponse {
	t.Helper()
	return into[api.UserKeyResponse](t, d.must(t, call{path: "/api/keys/user/" + url.PathEscape(name)}), http.StatusOK)
}

func (d *deployment) keyHistoryOf(t *testing.T, name string) api.KeyHistoryResponse {
	t.Helper()
	return into[api.KeyHistoryResponse](t, d.must(t, call{path: "/api/keys/user/" + url.PathEscape(name) + "/history"}), http.StatusOK)
}

func (u *user) rotate(t *testing.T, key publicKey) int {
	t.Helper()
	a := u.post(t, "/api/users/update-key", api.UpdateKeyRequest{PublicKey: key.pem})
	return into[api.UpdateKeyResponse](t, a, http.StatusOK).Version
}

func directory(d *deployment) []claim {
	return []claim{
		{"tells the deployment's own key, RSA-4096, one and the same each time", func(t *testing.T) {
			fetch := func() string {
				return into[api.ServerKeyResponse](t, d.must(t, call{path: "/api/keys/server-public"}), http.StatusOK).PublicKey
			}
			text := fetch()
			decoded, rest := pem.Decode([]byte(text))
			require.NotNil(t, decoded)
			require.Empty(t, rest)
			parsed, err := x509.ParsePKIXPublicKey(decoded.Bytes)
			require.NoError(t, err)
			require.Equal(t, 4096, parsed.(*rsa.PublicKey).N.BitLen())
			for range 8 {
				require.Equal(t, text, fetch())
			}
		}},
		{"tells a user's key to anybody, by the name in any case", func(t *testing.T) {
			u := user{d: d, name: d.name("Ann"), password: "correct horse", key: d.keys[1]}
			into[api.SessionResponse](t, d.must(t, call{path: "/api/auth/register", json: u.registration()}), http.StatusCreated)
			for _, name := range []string{u.name, strings.ToLower(u.name), strings.ToUpper(u.name)} {
				key := d.keyOf(t, name)
				require.Equal(t, u.name, key.Username)
				require.Equal(t, u.key.pem, key.PublicKey)
				require.Equal(t, 1, key.Version)
				require.Equal(t, u.key.fingerprint, key.Fingerprint)
				require.WithinDuration(t, time.Now(), key.UpdatedAt.Time, soon)
				past := d.keyHistoryOf(t, name)
				require.Equal(t, u.name, past.Username)
				require.Len(t, past.Versions, 1)
				require.Equal(t, api.KeyVersion{Version: 1, PublicKey: key.PublicKey, Fingerprint: key.Fingerprint, CreatedAt: key.UpdatedAt}, past.Versions[0])
			}
		}},
		{"tells the fingerprint as the SHA-256 of the key's DER", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			decoded, _ := pem.Decode([]byte(d.keyOf(t, u.name).PublicKey))
			sum := sha256.Sum256(decoded.Bytes)
			require.Equal(t, hex.EncodeToString(sum[:]), d.keyOf(t, u.name).Fingerprint)
		}},
		{"knows nobody who has not registered", func(t *testing.T) {
			for _, name := range []string{d.name("Nemo"), "ab", strings.Repeat("a", 31), "a.b", "*", "$where", "a b", "ä", "..", "a\x00b"} {
				d.must(t, call{path: "/api/keys/user/" + url.PathEscape(name)}).refused(t, http.StatusNotFound, api.CodeUserNotFound)
				d.must(t, call{path: "/api/keys/user/" + url.PathEscape(name) + "/history"}).refused(t, http.StatusNotFound, api.CodeUserNotFound)
			}
		}},
		{"lists everybody once, a page at a time, in the order of the names in lower case", func(t *testing.T) {
			stems := []string{"Zed", "abe", "Bea", "_x_"}
			users := d.newUsers(t, stems...)
			for _, path := range []string{"/api/keys/users", "/api/users/public-keys"} {
				listed := users[0].directory(t, path, 7)
				names := make([]string, 0, len(listed))
				found := map[string]api.DirectoryUser{}
				for _, u := range listed {
					names = append(names, strings.ToLower(u.Username))
					found[u.Username] = u
				}
				require.True(t, slices.IsSorted(names))
				require.Len(t, slices.Compact(names), len(listed), "a name is listed twice")
				for _, u := range users {
					require.Equal(t, api.DirectoryUser{Username: u.name, PublicKey: u.key.pem, Version: 1}, found[u.name])
				}
			}
		}},
		{"begins after a name, in any case, that nobody need have", func(t *testing.T) {
			u := d.newUser(t, "Mia")
			page := func(after string) api.DirectoryResponse {
				return into[api.DirectoryResponse](t, u.get(t, "/api/keys/users?limit=1&after="+after), http.StatusOK)
			}
			before := u.canonical()[:len(u.canonical())-1] // sorts just before
			for _, after := range []string{before, strings.ToUpper(before)} {
				listed := page(after).Users
				require.Len(t, listed, 1)
				require.Greater(t, strings.ToLower(listed[0].Username), before)
			}
			listed := page(u.name).Users
			if len(listed) == 1 {
				require.Greater(t, strings.ToLower(listed[0].Username), u.canonical())
			}
			last := page("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz")
			require.Empty(t, last.Users)
			require.Nil(t, last.Next)
		}},
		{"takes a limit of 1 to 1000", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for limit, good := range map[string]bool{"0": false, "1": true, "1000": true, "1001": false} {
				for _, path := range []string{"/api/keys/users", "/api/users/public-keys"} {
					a := u.get(t, path+"?limit="+limit)
					if !good {
						a.refusedField(t, api.CodeInvalidField, "limit")
						continue
					}
					require.Equal(t, http.StatusOK, a.status)
				}
			}
		}},
	}
}

// directory reads all pages of the directory.
func (u *user) directory(t *testing.T, path string, limit int) []api.DirectoryUser {
	t.Helper()
	var all []api.DirectoryUser
	for after := ""; ; {
		page := into[api.DirectoryResponse](t, u.get(t, fmt.Sprintf("%s?limit=%d&after=%s", path, limit, after)), http.StatusOK)
		require.LessOrEqual(t, len(page.Users), limit)
		all = append(all, page.Users...)
		if page.Next == nil {
			return all
		}
		require.Len(t, page.Users, limit, "a page that is not the last one is full")
		after = *page.Next
	}
}

func keyRotation(d *deployment) []claim {
	return []claim{
		{"makes the new key current and keeps the old one", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			first := d.keyOf(t, u.name)
			require.Equal(t, 2, u.rotate(t, d.keys[1]))
			key := d.keyOf(t, u.name)
			require.Equal(t, d.keys[1].pem, key.PublicKey)
			require.Equal(t, d.keys[1].fingerprint, key.Fingerprint)
			require.Equal(t, 2, key.Version)
			require.False(t, key.UpdatedAt.Before(first.UpdatedAt.Time))
			require.Equal(t, []api.KeyVersion{
				{Version: 1, PublicKey: first.PublicKey, Fingerprint: first.Fingerprint, CreatedAt: first.UpdatedAt},
				{Version: 2, PublicKey: key.PublicKey, Fingerprint: key.Fingerprint, CreatedAt: key.UpdatedAt},
			}, d.keyHistoryOf(t, u.name).Versions)
			profile := u.profile(t)
			require.Equal(t, 2, profile.KeyVersion)
			require.Equal(t, d.keys[1].pem, profile.PublicKey)
		}},
		{"to the key that is current changes nothing", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			require.Equal(t, 1, u.rotate(t, u.key))
			require.Len(t, d.keyHistoryOf(t, u.name).Versions, 1)
		}},
		{"back to a key of before is a version of its own", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			require.Equal(t, 2, u.rotate(t, d.keys[1]))
			require.Equal(t, 3, u.rotate(t, u.key))
			require.Equal(t, u.key.fingerprint, d.keyOf(t, u.name).Fingerprint)
		}},
		{"leaves a history that is read in pages, the newest keys first", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			const versions = 7
			for v := 2; v <= versions; v++ {
				require.Equal(t, v, u.rotate(t, d.keys[(v+1)%2]))
			}
			whole := d.keyHistoryOf(t, u.name)
			require.Len(t, whole.Versions, versions)
			require.Nil(t, whole.Next)
			page := func(query string) api.KeyHistoryResponse {
				return into[api.KeyHistoryResponse](t, d.must(t, call{path: "/api/keys/user/" + u.name + "/history?" + query}), http.StatusOK)
			}
			require.Equal(t, whole.Versions[4:], page("limit=3").Versions)
			var read []api.KeyVersion
			for query := "limit=3"; ; {
				p := page(query)
				require.Equal(t, u.name, p.Username)
				require.LessOrEqual(t, len(p.Versions), 3)
				read = append(slices.Clone(p.Versions), read...)
				if p.Next == nil {
					break
				}
				require.Len(t, p.Versions, 3, "a page that is not the last one is full")
				query = fmt.Sprint("limit=3&before=", *p.Next)
			}
			require.Equal(t, whole.Versions, read)
			require.Equal(t, whole, page("limit=200"))
			require.Equal(t, whole, page("before=2147483647"))
			require.Equal(t, whole.Versions[:2], page("before=3").Versions)
			nothing := page("before=1")
			require.Empty(t, nothing.Versions)
			require.Nil(t, nothing.Next)
		}},
		{"gives each of many at once a version of its own", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			const rotations = 12
			var all errgroup.Group
			for i := range rotations {
				key := newPublicKey(&rsa.PublicKey{N: modulus(2048 + i), E: 65537})
				all.Go(func() error {
					a, err := d.do(t.Context(), call{path: "/api/users/update-key", token: u.token, json: api.UpdateKeyRequest{PublicKey: key.pem}})
					if err == nil {
						_, err = decode[api.UpdateKeyResponse](a, http.StatusOK)
					}
					return err
				})
			}
			require.NoError(t, all.Wait())
			seen := map[string]bool{}
			past := d.keyHistoryOf(t, u.name).Versions
			require.Len(t, past, rotations+1)
			for i, key := range past {
				require.Equal(t, i+1, key.Version)
				require.False(t, seen[key.Fingerprint])
				seen[key.Fingerprint] = true
			}
			require.Equal(t, past[rotations].Fingerprint, d.keyOf(t, u.name).Fingerprint)
		}},
		{"takes the password, and needs it from then on", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			update := func(key publicKey, password string) answer {
				return u.post(t, "/api/users/update-key", api.UpdateKeyRequest{PublicKey: key.pem, CurrentPassword: password})
			}
			update(d.keys[1], "wrong horse").refused(t, http.StatusUnauthorized, api.CodeInvalidCredentials)
			require.Equal(t, 2, into[api.UpdateKeyResponse](t, update(d.keys[1], ""), http.StatusOK).Version, "what was wrong asks for nothing")
			require.Equal(t, 3, into[api.UpdateKeyResponse](t, update(d.keys[2], u.password), http.StatusOK).Version)
			for _, key := range []publicKey{d.keys[1], d.keys[2]} {
				require.Equal(t, "currentPassword", update(key, "").refused(t, http.StatusForbidden, api.CodePasswordRequired).Field)
			}
			require.Equal(t, 3, d.keyOf(t, u.name).Version)
			require.Equal(t, 4, into[api.UpdateKeyResponse](t, update(d.keys[1], u.password), http.StatusOK).Version)
		}},
		{"is the caller's alone", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Eve")
			users[1].rotate(t, d.keys[1])
			require.Equal(t, 1, d.keyOf(t, users[0].name).Version)
			require.Equal(t, users[0].key.fingerprint, d.keyOf(t, users[0].name).Fingerprint)
		}},
	}
}
