package client_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

const htmlPage = "<html>something is wrong</html>"

// brokenPaths are answers of what is between a client and its server, by what is said of them.
func brokenPaths() map[string]http.HandlerFunc {
	paths := map[string]http.HandlerFunc{
		"a page instead of the answer": says(200, htmlPage),
		"half an answer":               says(200, `{"username":"Ali`),
		"JSON of somebody else":        says(200, `{"status":"ok"}`),
		"JSON that is no object":       says(200, `[]`),
		"nothing":                      says(204, ""),
		"an error without a code":      says(404, `{"message":"no such route","requestId":"r"}`),
		"an error of no request":       says(401, `{"message":"log in","code":"token_expired"}`),
		"an error cut short":           says(401, `{"message":"log in","code":"token_expired","requestId":"r`),
		"an error with a number":       says(401, `{"message":"log in","code":401,"requestId":"r"}`),
	}
	for _, status := range []int{300, 400, 401, 403, 404, 405, 407, 408, 409, 413, 418, 429, 500, 502, 503, 504, 511, 520, 521, 522, 523, 524, 530} {
		paths[fmt.Sprint("a page with status ", status)] = says(status, htmlPage)
	}
	return paths
}

func TestWhatIsNotTheServersIsABrokenPathThatMayPass(t *testing.T) {
	for name, answer := range brokenPaths() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			calls := 0
			s.on("GET /api/auth/profile", func(w http.ResponseWriter, r *http.Request) {
				if calls++; calls > 1 {
					reply(w, 200, api.ProfileResponse{Username: "Alice"})
					return
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				answer(w, r)
			})
			var heard []error
			m := s.messenger(client.WithRetryHook(func(err error) { heard = append(heard, err) }))
			p, err := m.Profile(t.Context())
			require.NoError(t, err)
			require.Equal(t, "Alice", p.Username)
			require.Len(t, heard, 2)
			var broken *client.PathError
			require.ErrorAs(t, heard[0], &broken)
			require.Equal(t, "text/html", broken.ContentType)
			require.Nil(t, broken.Location)
			require.Contains(t, broken.Error(), fmt.Sprint("answered with status ", broken.Status))
			require.NotErrorIs(t, heard[0], client.ErrNoConnection)
		})
	}
}

func TestWhatTheServerRefusesIsNoBrokenPath(t *testing.T) {
	withHeader := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-ID", "r")
		says(404, `{"message":"there is no such user","code":"user_not_found"}`)(w, nil)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"404": refuses(404, api.CodeUserNotFound), "403": refuses(403, "forbidden"), "the id in the header alone": withHeader,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			calls := 0
			s.on("GET /api/keys/user/Bob", func(w http.ResponseWriter, r *http.Request) { calls++; answer(w, r) })
			_, err := s.messenger().UserKey(t.Context(), "Bob")
			var answered *api.Error
			require.ErrorAs(t, err, &answered)
			require.Equal(t, 1, calls)
		})
	}
}

func TestTheServersOwnFaultIsRepeatedWhereThatIsSafe(t *testing.T) {
	s := newScript(t)
	calls := 0
	s.on("POST /api/messages/send", func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls == 1 {
			refuse(w, 500, api.CodeInternal)
			return
		}
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	})
	_, err := s.messenger().SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1"})
	require.NoError(t, err)
	require.Equal(t, 2, calls)
}

// TestNoRedirectIsFollowed: a POST would become a GET without its body.
func TestNoRedirectIsFollowed(t *testing.T) {
	for to, server := range map[string]string{
		"https://mail.example%s":          "https://mail.example",
		"https://mail.example/sealpost%s": "https://mail.example/sealpost",
		"https://portal.example/login":    "",
		"%s/":                             "",
		"%s":                              "",
		"ftp://mail.example%s":            "",
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(status, " to ", to), func(t *testing.T) {
				s := newScript(t)
				calls := 0
				s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
					calls++
					w.Header().Set("Location", strings.ReplaceAll(to, "%s", r.URL.Path)+"?from=here")
					w.WriteHeader(status)
				})
				m := s.messenger()
				_, err := m.SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1"})
				var broken *client.PathError
				require.ErrorAs(t, err, &broken)
				require.Equal(t, status, broken.Status)
				require.NotNil(t, broken.Location)
				require.Equal(t, server, broken.Server)
				require.NotContains(t, broken.Error(), "from=here")
				require.ErrorIs(t, err, client.ErrOutcomeUnknown)
				_, err = m.Profile(t.Context())
				require.ErrorAs(t, err, &broken)
				require.Equal(t, 2, calls, "an address that redirects is a wrong one")
			})
		}
	}
}

// TestARedirectWhereTheServerHasAnsweredMayPass: somebody has moved to a network that wants a login first.
func TestARedirectWhereTheServerHasAnsweredMayPass(t *testing.T) {
	s := newScript(t)
	calls := 0
	s.on("GET /api/auth/profile", func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 2 {
			http.Redirect(w, r, "http://portal.example/login", http.StatusFound)
			return
		}
		reply(w, 200, api.ProfileResponse{Username: "Alice"})
	})
	m := s.messenger()
	for range 2 {
		_, err := m.Profile(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 3, calls)
}

func TestABrokenPathIsAskedAgainWhenItSays(t *testing.T) {
	s := newScript(t)
	calls := 0
	s.on("GET /api/auth/profile", func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Retry-After", "60")
		says(503, htmlPage)(w, nil)
	})
	_, err := s.messenger(client.WithPatience(30 * time.Second)).Profile(t.Context())
	var broken *client.PathError
	require.ErrorAs(t, err, &broken)
	require.Equal(t, time.Minute, broken.RetryAfter)
	require.Equal(t, 1, calls, "that is later than the caller is patient for")
}

// TestNoBrokenPathEndsReceiving, whatever it answers, nor does a server that is being replaced.
func TestNoBrokenPathEndsReceiving(t *testing.T) {
	answers := brokenPaths()
	answers["the server's 500"] = refuses(500, api.CodeInternal)
	answers["the server's 404"] = refuses(404, api.CodeNotFound)
	answers["the server's 403"] = refuses(403, "forbidden")
	answers["a redirect, later"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://portal.example", http.StatusFound)
	}
	for name, broken := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			s.polls(
				answer(t, "0", api.PollResponse{Type: "timeout", Cursor: "e.0"}),
				func(w http.ResponseWriter, _ string) { broken(w, &http.Request{Method: http.MethodGet}) },
				answer(t, "e.0", api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "e.1"}),
			)
			require.Equal(t, []string{"message 1"}, receive(t, s.messenger(), &memory{at: client.Cursor{Text: "0"}}))
		})
	}
}

func TestAPollThatTheServerCallsWrongEndsReceiving(t *testing.T) {
	s := newScript(t)
	s.polls(func(w http.ResponseWriter, _ string) { refuse(w, 400, api.CodeInvalidField) })
	err := s.messenger().Receive(t.Context(), &memory{at: client.Cursor{Text: "nonsense"}}, nil)
	require.True(t, client.IsCode(err, api.CodeInvalidField), "%v", err)
}
