package apitest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// rateSettings turn the limits on. One event a second is low enough to use up, and soon available again.
func rateSettings() map[string]string {
	return map[string]string{
		"RATE_LIMIT": "on", "SENDS_PER_MINUTE": "60", "READS_PER_MINUTE": "60", "POLLS_PER_MINUTE": "60",
		"RECIPIENTS_PER_MINUTE":      strconv.Itoa(recipientQuota),
		"DIRECTORY_PAGES_PER_MINUTE": "60", "KEY_ROTATIONS_PER_HOUR": "3", "KEY_LOOKUPS_PER_MINUTE": "60", "VERIFICATIONS_PER_MINUTE": "60",
	}
}

// recipientQuota is the smallest that a deployment accepts.
const recipientQuota = api.MaxRecipients

// quota is the content of a RateLimit header.
type quota struct{ limit, remaining, reset int }

func quotaOf(t *testing.T, a answer) quota {
	t.Helper()
	var q quota
	_, err := fmt.Sscanf(a.header.Get("RateLimit"), "limit=%d, remaining=%d, reset=%d", &q.limit, &q.remaining, &q.reset)
	require.NoError(t, err, "RateLimit: %q", a.header.Get("RateLimit"))
	return q
}

// requireLimited requires that an answer refuses for lack of quota, and returns how long to wait.
func requireLimited(t *testing.T, a answer) time.Duration {
	t.Helper()
	a.refused(t, http.StatusTooManyRequests, api.CodeRateLimited)
	require.Zero(t, quotaOf(t, a).remaining)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err)
	return time.Duration(seconds) * time.Second
}

// rateLimits proves the limits one after another: all claims share those on an address.
func rateLimits(t *testing.T, d *deployment) {
	users := d.newUsers(t, "Ann", "Bob")
	ann, bob := users[0], users[1]
	login := func(t *testing.T, name, password string) answer {
		t.Helper()
		return d.must(t, call{path: "/api/auth/login", json: api.LoginRequest{Username: name, Password: password}})
	}
	t.Run("logins: 10 in 15 minutes for a name, in whatever case, right or wrong", func(t *testing.T) {
		for i := range 10 {
			name := []string{ann.name, strings.ToUpper(ann.name)}[i%2]
			password := []string{ann.password, "wrong password"}[i/5]
			a := login(t, name, password)
			require.Equal(t, []int{http.StatusOK, http.StatusUnauthorized}[i/5], a.status)
			q := quotaOf(t, a)
			require.Equal(t, 10, q.limit)
			require.Equal(t, 9-i, q.remaining)
			require.LessOrEqual(t, q.reset, 15*60)
		}
		for range 2 {
			wait := requireLimited(t, login(t, ann.name, ann.password))
			require.Greater(t, wait, 30*time.Second)
			require.LessOrEqual(t, wait, 15*time.Minute)
		}
		require.Equal(t, http.StatusOK, login(t, bob.name, bob.password).status, "others are not held to it")
		ann.profile(t)
	})
	t.Run("password changes count as logins", func(t *testing.T) {
		requireLimited(t, ann.post(t, "/api/auth/password", api.PasswordRequest{CurrentPassword: ann.password, NewPassword: "another horse"}))
	})
	t.Run("registrations: 10 in 15 minutes for a name", func(t *testing.T) {
		u := user{d: d, name: d.name("Cid"), password: "correct horse", key: d.keys[0]}
		for i := range 10 {
			a := d.must(t, call{path: "/api/auth/register", json: u.registration()})
			require.Equal(t, []int{http.StatusCreated, http.StatusConflict}[min(i, 1)], a.status)
		}
		requireLimited(t, d.must(t, call{path: "/api/auth/register", json: u.registration()}))
	})
	t.Run("key rotations", func(t *testing.T) {
		for i := range 3 {
			ann.rotate(t, d.keys[(i+1)%2])
		}
		requireLimited(t, ann.post(t, "/api/users/update-key", api.UpdateKeyRequest{PublicKey: d.keys[2].pem}))
		require.Equal(t, 4, d.keyOf(t, ann.name).Version)
		bob.rotate(t, d.keys[1])
	})
	for name, request := range map[string]func(u *user) call{
		"sends":           func(u *user) call { return call{path: "/api/messages/send", json: u.letter(bob)} },
		"reads":           func(*user) call { return call{path: "/api/messages/history"} },
		"polls":           func(*user) call { return call{path: "/api/messages/poll?after=0&wait=0"} },
		"directory pages": func(*user) call { return call{path: "/api/keys/users?limit=1"} },
	} {
		t.Run(name, func(t *testing.T) { d.proveMinuteLimit(t, request) })
	}
	t.Run("look-ups of keys and of their histories, for an address", func(t *testing.T) {
		path := "/api/keys/user/" + bob.name
		d.proveAddressLimit(t, call{path: path}, call{path: path + "/history"}, call{path: path, token: bob.token})
	})
	t.Run("verifications of tokens, for an address", func(t *testing.T) {
		d.proveAddressLimit(t, call{path: "/api/auth/verify", json: api.VerifyRequest{Token: bob.token}})
	})
	t.Run("recipients of sends to more than 16, whether they exist or not", func(t *testing.T) { d.proveRecipientLimit(t) })
	t.Run("logins: 100 in 15 minutes for an address", func(t *testing.T) {
		for range 101 {
			a := login(t, d.name("Nemo"), "wrong password")
			if a.status == http.StatusTooManyRequests {
				requireLimited(t, a)
				require.Equal(t, 100, quotaOf(t, a).limit)
				return
			}
			require.Equal(t, http.StatusUnauthorized, a.status)
		}
		require.Fail(t, "names can be tried one after the other")
	})
}

// proveRecipientLimit uses up a user's quota of recipients with names that nobody has: what a refused send tells has a price.
func (d *deployment) proveRecipientLimit(t *testing.T) {
	users := d.newUsers(t, "Dot", "Eve")
	ask := func(u *user, recipients int) answer {
		r := u.letter()
		for i := range recipients {
			r.RecipientKeys[fmt.Sprintf("nobody%d", i)] = "k"
		}
		return u.post(t, "/api/messages/send", r)
	}
	const half = recipientQuota / 2
	taken := 0
	a := ask(users[0], half)
	for ; a.status != http.StatusTooManyRequests; a = ask(users[0], half) {
		fault := a.refused(t, http.StatusBadRequest, api.CodeUnknownRecipients)
		require.Len(t, fault.UnknownRecipients, half)
		require.Equal(t, 60, quotaOf(t, a).limit, "what was let through tells of the limit of sends")
		taken++
		require.Less(t, taken, 40, "there is no limit")
	}
	wait := requireLimited(t, a)
	require.GreaterOrEqual(t, taken, 2)
	require.Equal(t, recipientQuota, quotaOf(t, a).limit)
	require.LessOrEqual(t, wait, 35*time.Second, "half of the quota is back in 30 seconds, and a jitter")
	into[api.SendResponse](t, users[0].post(t, "/api/messages/send", users[0].letter(users[1])), http.StatusCreated)
	ask(users[0], 16).refused(t, http.StatusBadRequest, api.CodeUnknownRecipients)
	ask(users[1], half).refused(t, http.StatusBadRequest, api.CodeUnknownRecipients)
	eventually(t, "the quota does not come back", func() bool { return ask(users[0], 17).status == http.StatusBadRequest })
}

// proveMinuteLimit uses up a user's quota of 60 a minute, and requires that it is reported correctly and refills.
func (d *deployment) proveMinuteLimit(t *testing.T, request func(u *user) call) {
	users := d.newUsers(t, "Dot", "Eve")
	ask := func(u *user) answer {
		c := request(u)
		c.token = u.token
		return d.must(t, c)
	}
	useUp(t, func() answer { return ask(users[0]) })
	require.Less(t, ask(users[1]).status, 300, "others are not held to it")
	eventually(t, "the quota does not come back", func() bool { return ask(users[0]).status < 300 })
}

// proveAddressLimit does the same for an address's quota, which the requests share.
func (d *deployment) proveAddressLimit(t *testing.T, requests ...call) {
	turn := 0
	ask := func() answer {
		turn++
		return d.must(t, requests[turn%len(requests)])
	}
	useUp(t, ask)
	eventually(t, "the quota does not come back", func() bool { return ask().status < 300 })
}

// useUp repeats a request until a limit of 60 a minute, on each node, refuses it.
func useUp(t *testing.T, ask func() answer) {
	t.Helper()
	taken := 0
	a := ask()
	for ; a.status != http.StatusTooManyRequests; a = ask() {
		require.Less(t, a.status, 300)
		require.Equal(t, 60, quotaOf(t, a).limit)
		taken++
		require.Less(t, taken, 600, "there is no limit")
	}
	wait := requireLimited(t, a)
	require.GreaterOrEqual(t, taken, 60)
	require.LessOrEqual(t, wait, 5*time.Second, "the next one is allowed within a second, and a jitter")
}
