package apitest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

const origin = "https://app.example"

// tightSettings are small enough to reach.
func tightSettings() map[string]string {
	return map[string]string{
		"MAX_POLLS": "40", "MAX_POLLS_PER_USER": "2", "POLL_WAIT": "500ms", "MAX_MESSAGE_BYTES": "8KiB", "MIN_PASSWORD_BYTES": "12",
		"JWT_EXPIRATION": "2h", "RETENTION": "1h", "CORS_ORIGINS": origin,
	}
}

// settings proves what an operator's settings do. Nobody else uses this deployment, so its count of open polls is reliable; the claims that
// need it are proved one after another.
func settings(t *testing.T, d *deployment) {
	t.Run("limits", func(t *testing.T) { runAll(t, operatorsLimits(d)) })
	t.Run("polls without a cursor", func(t *testing.T) { runAll(t, legacyPolls(d)) })
	t.Run("other origins", func(t *testing.T) { runAll(t, crossOrigin(d)) })
	t.Run("waiting polls", func(t *testing.T) { waitingPolls(t, d) })
	for _, c := range append(quiet(d), openPolls(d)...) {
		t.Run(c.name, c.prove)
	}
}

func operatorsLimits(d *deployment) []claim {
	return []claim{
		{"MIN_PASSWORD_BYTES is the shortest password", func(t *testing.T) {
			u := user{d: d, name: d.name("Ann"), password: strings.Repeat("p", 11), key: d.keys[0]}
			d.must(t, call{path: "/api/auth/register", json: u.registration()}).refusedField(t, api.CodeWeakPassword, "password")
			u.password += "p"
			u.token = into[api.SessionResponse](t, d.must(t, call{path: "/api/auth/register", json: u.registration()}), http.StatusCreated).Token
			u.post(t, "/api/auth/password", api.PasswordRequest{CurrentPassword: u.password, NewPassword: strings.Repeat("q", 11)}).
				refusedField(t, api.CodeWeakPassword, "newPassword")
		}},
		{"JWT_EXPIRATION is how long a token is good for", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			a := d.must(t, call{path: "/api/auth/login", json: api.LoginRequest{Username: u.name, Password: u.password}})
			session := into[api.SessionResponse](t, a, http.StatusOK)
			require.WithinDuration(t, time.Now().Add(2*time.Hour), session.ExpiresAt.Time, soon)
			claims := claimsOf(t, session.Token)
			require.InDelta(t, 7200, claims["exp"].(float64)-claims["iat"].(float64), 0)
		}},
		{"MAX_MESSAGE_BYTES is the largest body of a send", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			send := func(size int, chunked bool) answer {
				body := padded(t, users[0].letter(users[1]), size)
				return d.must(t, call{path: "/api/messages/send", token: users[0].token, body: body, chunked: chunked})
			}
			for _, chunked := range []bool{false, true} {
				into[api.SendResponse](t, send(8192, chunked), http.StatusCreated)
				send(8193, chunked).refused(t, http.StatusRequestEntityTooLarge, api.CodeBodyTooLarge)
			}
			require.Len(t, users[1].history(t, "").Messages, 2)
		}},
		{"RETENTION is the longest lifetime of a message", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].letter(users[1])
			r.ExpiresIn = new(int64(3600))
			users[0].sendsAs(t, r)
			r.ExpiresIn = new(int64(3601))
			users[0].post(t, "/api/messages/send", r).refusedField(t, api.CodeInvalidField, "expiresIn")
		}},
		{"POLL_WAIT is how long a poll waits that does not say", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, query := range []string{"", "?after=0"} {
				began := time.Now()
				p := into[api.PollResponse](t, u.get(t, "/api/messages/poll"+query), http.StatusOK)
				require.Equal(t, api.PollTimeout, p.Type)
				require.GreaterOrEqual(t, time.Since(began), 500*time.Millisecond)
			}
		}},
	}
}

// parkedPoll is a poll that waits, or is about to.
type parkedPoll struct {
	answer answer
	err    error
	done   chan struct{}
}

// begins starts a poll without waiting.
func (u *user) begins(t *testing.T, path string) *parkedPoll {
	t.Helper()
	p := &parkedPoll{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.answer, p.err = u.d.do(t.Context(), call{path: path, token: u.token, mayFail: true})
	}()
	t.Cleanup(func() { <-p.done })
	return p
}

// answered reports whether the poll has its answer.
func (p *parkedPoll) answered() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait waits for a poll's answer and returns it.
func (p *parkedPoll) wait(t *testing.T) answer {
	t.Helper()
	eventually(t, "the poll still waits", p.answered)
	require.NoError(t, p.err)
	return p.answer
}

// settle waits until each poll is answered or counted as open by the deployment, and no others are open. It returns the open ones.
func (u *user) settle(t *testing.T, polls []*parkedPoll) (waiting []*parkedPoll) {
	t.Helper()
	eventually(t, "the polls neither wait nor are answered", func() bool {
		waiting = slices.DeleteFunc(slices.Clone(polls), (*parkedPoll).answered)
		return u.status(t).ActiveConnections == int64(len(waiting))
	})
	return waiting
}

// status returns the status of the whole deployment.
func (u *user) status(t *testing.T) api.StatusStats {
	t.Helper()
	return into[api.StatusResponse](t, u.get(t, "/api/messages/status"), http.StatusOK).Stats
}

// scene is something that happens to waiting polls.
type scene struct {
	name  string
	polls []*parkedPoll
	prove func(t *testing.T)
}

// waitingPolls starts the polls of all scenes, makes sure that all of them wait, and then proves each scene.
func waitingPolls(t *testing.T, d *deployment) {
	var scenes []scene
	for _, sets := range [][]scene{sendsToWaitingPolls(t, d), endsOfWaitingSessions(t, d)} {
		scenes = append(scenes, sets...)
	}
	var polls []*parkedPoll
	for _, s := range scenes {
		polls = append(polls, s.polls...)
	}
	require.Len(t, d.newUser(t, "Eve").settle(t, polls), len(polls), "a poll is answered though there is nothing")
	for _, s := range scenes {
		t.Run(s.name, s.prove)
	}
}

const (
	fromBeginning = "/api/messages/poll?after=0&wait=60"
	fromHead      = "/api/messages/poll?after=latest&wait=60"
)

func sendsToWaitingPolls(t *testing.T, d *deployment) []scene {
	t.Helper()
	takes := func(t *testing.T, p *parkedPoll, sent api.SendResponse) api.PollResponse {
		t.Helper()
		r := into[api.PollResponse](t, p.wait(t), http.StatusOK)
		require.Equal(t, []string{sent.MessageID}, ids(r.Messages))
		return r
	}
	ann := d.newUser(t, "Ann")
	one, talker, other, many := d.newUser(t, "Bob"), d.newUser(t, "Bob"), d.newUser(t, "Bob"), d.newUsers(t, "Cid", "Dot", "Eve")
	ones := []*parkedPoll{one.begins(t, fromBeginning), one.begins(t, fromHead)}
	talkers := []*parkedPoll{talker.begins(t, fromBeginning)}
	session := other.login(t)
	others := []*parkedPoll{other.begins(t, fromBeginning)}
	manys := make([]*parkedPoll, len(many))
	for i, reader := range many {
		manys[i] = reader.begins(t, fromBeginning)
	}
	return []scene{
		{"a send answers all of its reader's", ones, func(t *testing.T) {
			_, sent := ann.sends(t, one)
			takes(t, ones[0], sent)
			takes(t, ones[1], sent)
		}},
		{"a send answers those of all its readers", manys, func(t *testing.T) {
			_, sent := ann.sends(t, many...)
			for _, p := range manys {
				takes(t, p, sent)
			}
		}},
		{"what their user sends to others does not answer them", talkers, func(t *testing.T) {
			talker.sends(t, ann)
			_, sent := ann.sends(t, talker)
			require.Equal(t, []int64{1}, takes(t, talkers[0], sent).Skipped)
		}},
		{"the end of another session does not answer them", others, func(t *testing.T) {
			into[api.MessageResponse](t, session.post(t, "/api/auth/logout", nil), http.StatusOK)
			_, sent := ann.sends(t, other)
			takes(t, others[0], sent)
		}},
	}
}

// endsOfWaitingSessions are the scenes in which a session ends: its waiting polls are answered 401.
func endsOfWaitingSessions(t *testing.T, d *deployment) []scene {
	t.Helper()
	var scenes []scene
	for name, end := range map[string]func(t *testing.T, waiting, other *user){
		"their session's logout answers them 401": func(t *testing.T, waiting, _ *user) {
			into[api.MessageResponse](t, waiting.post(t, "/api/auth/logout", nil), http.StatusOK)
		},
		"logout-all answers those of all sessions 401": func(t *testing.T, _, other *user) {
			into[api.MessageResponse](t, other.post(t, "/api/auth/logout-all", nil), http.StatusOK)
		},
		"a new password answers those of all sessions 401": func(t *testing.T, _, other *user) {
			into[api.SessionResponse](t, other.post(t, "/api/auth/password", api.PasswordRequest{
				CurrentPassword: other.password, NewPassword: "another horse",
			}), http.StatusOK)
		},
	} {
		u := d.newUser(t, "Bob")
		other := u.login(t)
		polls := []*parkedPoll{u.begins(t, fromBeginning), u.begins(t, fromHead)}
		scenes = append(scenes, scene{name, polls, func(t *testing.T) {
			end(t, u, other)
			for _, p := range polls {
				p.wait(t).refused(t, http.StatusUnauthorized, api.CodeTokenRevoked)
			}
		}})
	}
	return scenes
}

// quiet are claims that are true while nobody opens an account.
func quiet(d *deployment) []claim {
	return []claim{
		{"both paths of the directory have one answer", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, query := range []string{"", "?limit=2", "?after=" + u.name, "?limit=2&after=a", "?limit=x"} {
				one, two := u.get(t, "/api/keys/users"+query), u.get(t, "/api/users/public-keys"+query)
				require.Equal(t, one.status, two.status)
				if one.status == http.StatusOK {
					require.Equal(t, string(one.body), string(two.body))
				}
			}
		}},
	}
}

func openPolls(d *deployment) []claim {
	// flood starts polls until one more than fits, and returns the waiting ones and the refusals of the others.
	flood := func(t *testing.T, polls []*parkedPoll) (waiting []*parkedPoll, refusals []answer) {
		t.Helper()
		waiting = d.newUser(t, "Eve").settle(t, polls)
		for _, p := range polls {
			if p.answered() {
				refusals = append(refusals, p.wait(t))
			}
		}
		require.NotEmpty(t, refusals)
		return waiting, refusals
	}
	return []claim{
		{"MAX_POLLS_PER_USER bounds what one user may have open on a node", func(t *testing.T) {
			bob := d.newUser(t, "Bob")
			gateways := int(bob.status(t).Capacity.Max / 40)
			polls := make([]*parkedPoll, 2*gateways+1)
			for i := range polls {
				polls[i] = bob.begins(t, fromBeginning)
			}
			waiting, refusals := flood(t, polls)
			for _, a := range refusals {
				a.refused(t, http.StatusTooManyRequests, api.CodeRateLimited)
			}
			require.GreaterOrEqual(t, len(waiting), 2)
			_, sent := bob.sends(t, bob)
			for _, p := range waiting {
				require.Equal(t, []string{sent.MessageID}, ids(into[api.PollResponse](t, p.wait(t), http.StatusOK).Messages))
			}
			require.Equal(t, api.PollTimeout, bob.polls(t, "after=1&wait=0").Type, "there is room again")
		}},
		{"MAX_POLLS bounds what may be open on a node", func(t *testing.T) {
			ann := d.newUser(t, "Ann")
			polls := make([]*parkedPoll, ann.status(t).Capacity.Max+1)
			readers := make([]*user, len(polls))
			for i := range polls {
				readers[i] = d.newUser(t, "Bob")
				polls[i] = readers[i].begins(t, fromBeginning)
			}
			waiting, refusals := flood(t, polls)
			for _, a := range refusals {
				a.refused(t, http.StatusServiceUnavailable, api.CodeAtCapacity)
			}
			require.GreaterOrEqual(t, len(waiting), 40)
			ann.sends(t, readers...)
			for _, p := range waiting {
				require.Equal(t, http.StatusOK, p.wait(t).status)
			}
			ann.settle(t, nil)
			require.Equal(t, api.PollMessages, readers[len(readers)-1].polls(t, "after=0&wait=20").Type, "there is room again")
		}},
	}
}

func crossOrigin(d *deployment) []claim {
	preflight := func(t *testing.T, from, method, headers string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, d.BaseURL+"/api/messages/send", nil)
		require.NoError(t, err)
		req.Header.Set("Origin", from)
		req.Header.Set("Access-Control-Request-Method", method)
		req.Header.Set("Access-Control-Request-Headers", headers)
		res, err := d.http.Do(req) // not an operation of the document, so not checked against it
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return answer{status: res.StatusCode, header: res.Header}
	}
	return []claim{
		{"CORS_ORIGINS may call, with a token and a request id", func(t *testing.T) {
			for _, header := range []string{"authorization,content-type", "idempotency-key", "last-event-id", "x-request-id"} {
				a := preflight(t, origin, http.MethodPost, header)
				require.Equal(t, http.StatusNoContent, a.status)
				require.Equal(t, origin, a.header.Get("Access-Control-Allow-Origin"))
				require.Contains(t, a.header.Get("Access-Control-Allow-Methods"), http.MethodPost)
				require.Equal(t, header, strings.ToLower(a.header.Get("Access-Control-Allow-Headers")))
				require.Empty(t, a.header.Get("Access-Control-Allow-Credentials"))
			}
			u := d.newUser(t, "Ann")
			a := d.must(t, call{path: "/api/auth/profile", token: u.token, header: map[string]string{"Origin": origin}})
			require.Equal(t, http.StatusOK, a.status)
			require.Equal(t, origin, a.header.Get("Access-Control-Allow-Origin"))
			for _, name := range []string{"X-Request-Id", "Retry-After", "Ratelimit"} {
				require.Contains(t, strings.ToLower(a.header.Get("Access-Control-Expose-Headers")), strings.ToLower(name))
			}
			require.Contains(t, strings.Join(a.header.Values("Vary"), ","), "Origin")
			// A page must be able to read why it was refused.
			a = d.must(t, call{path: "/api/auth/profile", header: map[string]string{"Origin": origin}})
			a.refused(t, http.StatusUnauthorized, api.CodeNoToken)
			require.Equal(t, origin, a.header.Get("Access-Control-Allow-Origin"))
		}},
		{"other origins may not", func(t *testing.T) {
			for _, other := range []string{"https://evil.example", "http://app.example", origin + ".evil.example", "https://sub.app.example", "null"} {
				a := preflight(t, other, http.MethodPost, "authorization")
				require.Empty(t, a.header.Get("Access-Control-Allow-Origin"), other)
				a = d.must(t, call{path: "/api/health", header: map[string]string{"Origin": other}})
				require.Empty(t, a.header.Get("Access-Control-Allow-Origin"), other)
			}
		}},
		{"nobody may call with methods that no route takes", func(t *testing.T) {
			require.Empty(t, preflight(t, origin, http.MethodDelete, "").header.Get("Access-Control-Allow-Origin"))
		}},
	}
}
