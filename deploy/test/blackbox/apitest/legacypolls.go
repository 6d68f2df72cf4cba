package apitest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// legacyPolls are claims about polls of clients that keep no cursor. POLL_WAIT is short here.
func legacyPolls(d *deployment) []claim {
	poll := func(t *testing.T, u *user) api.PollResponse {
		t.Helper()
		return into[api.PollResponse](t, u.get(t, "/api/messages/poll"), http.StatusOK)
	}
	// takes polls until nothing comes, and returns the ids of the messages.
	takes := func(t *testing.T, u *user) []string {
		t.Helper()
		var got []string
		for {
			p := poll(t, u)
			if p.Type == api.PollTimeout {
				require.Equal(t, api.PollResponse{Type: api.PollTimeout}, p)
				return got
			}
			require.Equal(t, api.PollMessage, p.Type)
			got = append(got, p.Data.MessageID)
		}
	}
	send := func(t *testing.T, from, to *user) string {
		t.Helper()
		_, sent := from.sends(t, to)
		return sent.MessageID
	}
	return []claim{
		{"a poll without a cursor gives one message, in order, once", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			want := []string{send(t, ann, bob), send(t, ann, bob), send(t, ann, bob)}
			first := poll(t, bob)
			require.Equal(t, api.PollMessage, first.Type)
			require.Equal(t, bob.message(t, want[0]), *first.Data)
			require.Equal(t, want[1:], takes(t, bob))
			later := send(t, ann, bob)
			require.Equal(t, []string{later}, takes(t, bob))
		}},
		{"its cursor can be used from then on", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			send(t, users[0], users[1])
			second := send(t, users[0], users[1])
			require.Equal(t, []string{second}, ids(users[1].polls(t, "wait=20&after="+poll(t, users[1]).Cursor).Messages))
		}},
		{"it passes over what its user sent", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			send(t, users[1], users[0])
			want := send(t, users[0], users[1])
			send(t, users[1], users[0])
			require.Equal(t, []string{want}, takes(t, users[1]))
		}},
		{"each session is given every message", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, one := users[0], users[1]
			two := one.login(t)
			want := []string{send(t, ann, one), send(t, ann, one)}
			require.Equal(t, want, takes(t, one))
			require.Equal(t, want, takes(t, two))
		}},
		{"a new session begins where the furthest one stood", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, first := users[0], users[1]
			behind := first.login(t)
			old := []string{send(t, ann, first), send(t, ann, first)}
			require.Equal(t, old, takes(t, first))
			next := first.login(t)
			fresh := send(t, ann, first)
			require.Equal(t, []string{fresh}, takes(t, next))
			require.Equal(t, []string{fresh}, takes(t, first))
			require.Equal(t, append(old, fresh), takes(t, behind))
		}},
		{"what came while nobody was logged in is delivered", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			send(t, ann, bob)
			require.Len(t, takes(t, bob), 1)
			into[api.MessageResponse](t, bob.post(t, "/api/auth/logout", nil), http.StatusOK)
			missed := []string{send(t, ann, bob), send(t, ann, bob)}
			require.Equal(t, missed, takes(t, bob.login(t)))
		}},
		{"a client that sends cookies back is given again what has not reached it", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			jar, token := "", ""
			ask := func(c call) answer {
				c.header = map[string]string{"Cookie": jar}
				a := d.must(t, c)
				require.Equal(t, http.StatusOK, a.status, "%s", a.body)
				return a
			}
			keep := func(a answer) answer {
				jar, _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";")
				require.NotEmpty(t, jar)
				return a
			}
			session := keep(ask(call{path: "/api/auth/login", json: api.LoginRequest{Username: bob.name, Password: bob.password}}))
			token = into[api.SessionResponse](t, session, http.StatusOK).Token
			first, second := send(t, ann, bob), send(t, ann, bob)
			next := func() answer { return ask(call{path: "/api/messages/poll", token: token}) }
			id := func(a answer) string { return into[api.PollResponse](t, a, http.StatusOK).Data.MessageID }
			require.Equal(t, first, id(next()), "its answer is lost behind a proxy")
			require.Equal(t, first, id(keep(next())))
			require.Equal(t, second, id(next()))
			require.Equal(t, second, id(keep(next())))
			require.Equal(t, api.PollTimeout, into[api.PollResponse](t, next(), http.StatusOK).Type)
		}},
		{"limit and wait are checked, and not for it", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			send(t, users[0], users[1])
			send(t, users[0], users[1])
			for range 2 {
				p := into[api.PollResponse](t, users[1].get(t, "/api/messages/poll?limit=1000&wait=60"), http.StatusOK)
				require.Equal(t, api.PollMessage, p.Type)
			}
			began := time.Now()
			p := into[api.PollResponse](t, users[1].get(t, "/api/messages/poll?wait=60"), http.StatusOK)
			require.Equal(t, api.PollTimeout, p.Type)
			require.Less(t, time.Since(began), 30*time.Second)
			users[1].get(t, "/api/messages/poll?limit=x").refusedField(t, api.CodeInvalidField, "limit")
			users[1].get(t, "/api/messages/poll?wait=x").refusedField(t, api.CodeInvalidField, "wait")
		}},
	}
}
