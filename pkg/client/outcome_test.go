package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// publicKey is the n-th test key in PEM.
func publicKey(t *testing.T, n int) string {
	text, err := envelope.EncodePublicKey(&testKeys()[n].PublicKey)
	require.NoError(t, err)
	return text
}

// says answers with the given status and body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// refuses answers with an error in the server's format.
func refuses(status int, code api.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, code) }
}

// mutatingCalls are the calls that change something, by route.
func mutatingCalls(t *testing.T) map[string]func(ctx context.Context, m *client.Messenger) error {
	return map[string]func(ctx context.Context, m *client.Messenger) error{
		"POST /api/auth/register": func(ctx context.Context, m *client.Messenger) error {
			_, err := m.Register(ctx, "Alice", "secret", publicKey(t, 0))
			return err
		},
		"POST /api/auth/password": func(ctx context.Context, m *client.Messenger) error {
			_, err := m.ChangePassword(ctx, "secret", "secrets")
			return err
		},
		"POST /api/users/update-key": func(ctx context.Context, m *client.Messenger) error {
			_, err := m.UpdateKey(ctx, publicKey(t, 0), "")
			return err
		},
		"POST /api/messages/send": func(ctx context.Context, m *client.Messenger) error {
			_, err := m.SendSealed(ctx, api.SendRequest{ClientMessageID: "1"})
			return err
		},
		"POST /api/auth/logout":     func(ctx context.Context, m *client.Messenger) error { return m.Logout(ctx) },
		"POST /api/auth/logout-all": func(ctx context.Context, m *client.Messenger) error { return m.LogoutAll(ctx) },
	}
}

func TestOnlyTheServersOwnRefusalMeansThatNothingWasDone(t *testing.T) {
	const page = "<html>Bad gateway</html>"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		known  bool
	}{
		"400":                       {refuses(400, api.CodeWeakPassword), true},
		"401":                       {refuses(401, api.CodeTokenExpired), true},
		"403":                       {refuses(403, api.CodePasswordRequired), true},
		"413":                       {refuses(413, api.CodeBodyTooLarge), true},
		"415":                       {refuses(415, api.CodeUnsupportedMediaType), true},
		"429":                       {refuses(429, api.CodeRateLimited), true},
		"a cut connection":          {cut, false},
		"a proxy's 502":             {says(502, page), false},
		"a proxy's 503":             {says(503, page), false},
		"a proxy's 504":             {says(504, page), false},
		"a proxy's 520":             {says(520, page), false},
		"the server's own 503":      {refuses(503, api.CodeUnavailable), false},
		"the server's own 500":      {refuses(500, api.CodeInternal), false},
		"a proxy's 400":             {says(400, page), false},
		"a proxy's 403":             {says(403, page), false},
		"a proxy's 404":             {says(404, page), false},
		"a proxy's 408":             {says(408, page), false},
		"a proxy's 500":             {says(500, page), false},
		"a proxy's 524":             {says(524, page), false},
		"the server's own 404":      {refuses(404, api.CodeNotFound), false},
		"half of the server's JSON": {says(200, `{"token":"t`), false},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example", http.StatusMovedPermanently)
		}, false},
		"a proxy's 409":                    {says(409, page), false},
		"a proxy's 429 in JSON":            {says(429, `{"message":"slow down","requestId":"r"}`), false},
		"a code that nobody knows":         {refuses(400, "odd"), false},
		"a code with another's status":     {refuses(400, api.CodeRateLimited), false},
		"a refusal without a request's id": {says(400, `{"message":"no","code":"weak_password"}`), false},
		"a page with status 200":           {says(200, page), false},
		"JSON of somebody else":            {says(200, `{"status":"ok"}`), false},
		"nothing with status 201":          {says(201, ""), false},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"token":"`))
		}, false},
	} {
		for route, call := range mutatingCalls(t) {
			t.Run(name+"/"+route, func(t *testing.T) {
				s := newScript(t)
				s.on(route, c.answer)
				err := call(t.Context(), s.messenger(client.WithPatience(0)))
				require.Error(t, err)
				require.Equal(t, !c.known, errors.Is(err, client.ErrOutcomeUnknown), "%v", err)
			})
		}
	}
}

func TestARequestThatNeverLeftHasDoneNothing(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := client.New(server.URL, client.WithPatience(0))
	require.NoError(t, err)
	_, err = c.Register(t.Context(), "Alice", "secret", publicKey(t, 0))
	require.ErrorIs(t, err, client.ErrNoConnection)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
}

func TestARefusalSaysNothingOfAnEarlierAttempt(t *testing.T) {
	s := newScript(t)
	attempts := 0
	s.on("POST /api/messages/send", func(w http.ResponseWriter, r *http.Request) {
		if attempts++; attempts == 1 {
			cut(w, r)
		}
		refuse(w, 429, api.CodeRateLimited)
	})
	_, err := s.messenger(client.WithPatience(time.Second)).SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1"})
	require.True(t, client.IsCode(err, api.CodeRateLimited))
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.Greater(t, attempts, 1)
}

func TestACallThatIsGivenUpWhileItWaitsToRepeatSaysSo(t *testing.T) {
	s := newScript(t)
	s.on("POST /api/messages/send", cut)
	ctx, cancel := context.WithCancel(t.Context())
	m := s.messenger(client.WithRetryHook(func(error) { cancel() }))
	_, err := m.SendSealed(ctx, api.SendRequest{ClientMessageID: "1"})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
}

// taken makes the server say that Alice's name is taken, and answer with the keys the account has had.
func (s *script) taken(answer http.HandlerFunc) (logins *int) {
	s.on("POST /api/auth/register", refuses(409, api.CodeUsernameTaken))
	s.on("GET /api/keys/user/Alice/history", answer)
	logins = new(int)
	s.on("POST /api/auth/login", func(w http.ResponseWriter, r *http.Request) {
		*logins++
		if decode[api.LoginRequest](s.t, r).Password != "secret" {
			refuse(w, 401, api.CodeInvalidCredentials)
			return
		}
		reply(w, 200, api.SessionResponse{Token: "t", Username: "Alice"})
	})
	return logins
}

func history(t *testing.T, name string, keys ...int) http.HandlerFunc {
	answer := api.KeyHistoryResponse{Username: name}
	for i, n := range keys {
		answer.Versions = append(answer.Versions, api.KeyVersion{Version: i + 1, PublicKey: publicKey(t, n)})
	}
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, answer) }
}

func TestANameThatIsTakenByOneselfIsRegistered(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"just now":                       history(t, "Alice", 0),
		"and the key was rotated since":  history(t, "Alice", 0, 1),
		"and written otherwise, earlier": history(t, "ALICE", 2, 0),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.taken(answer)
			m := s.messenger()
			session, err := m.Register(t.Context(), "Alice", "secret", publicKey(t, 0))
			require.NoError(t, err)
			require.Equal(t, "t", session.Token)
			s.on("GET /api/auth/profile", func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, "Bearer t", r.Header.Get("Authorization"))
				reply(w, 200, api.ProfileResponse{Username: "Alice"})
			})
			_, err = m.Profile(t.Context())
			require.NoError(t, err)
		})
	}
}

func TestANameThatIsTakenBySomebodyElseIsTaken(t *testing.T) {
	s := newScript(t)
	logins := s.taken(history(t, "Alice", 1, 2))
	_, err := s.messenger().Register(t.Context(), "Alice", "secret", publicKey(t, 0))
	require.True(t, client.IsCode(err, api.CodeUsernameTaken))
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
	require.Zero(t, *logins, "nobody else's password is tried")
}

func TestWhoseANameIsIsNotToldByWhatIsMissing(t *testing.T) {
	behind := api.KeyHistoryResponse{Username: "Alice", Versions: []api.KeyVersion{{Version: 2, PublicKey: publicKey(t, 1)}}}
	for name, answer := range map[string]http.HandlerFunc{
		"no such user, yet":           refuses(404, api.CodeUserNotFound),
		"the directory is away":       refuses(503, api.CodeUnavailable),
		"no keys":                     history(t, "Alice"),
		"the first key is missing":    func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, behind) },
		"somebody else was meant":     history(t, "Mallory", 1),
		"a key that is not a key":     says(200, `{"username":"Alice","versions":[{"version":1,"publicKey":"x"}]}`),
		"a page instead of an answer": says(200, "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.taken(answer)
			_, err := s.messenger(client.WithPatience(0)).Register(t.Context(), "Alice", "secret", publicKey(t, 0))
			require.ErrorIs(t, err, client.ErrOutcomeUnknown)
		})
	}
}

func TestAnAccountOfOnesOwnWithAnotherPasswordIsSaidToBeThere(t *testing.T) {
	s := newScript(t)
	s.taken(history(t, "Alice", 0))
	_, err := s.messenger().Register(t.Context(), "Alice", "a slip", publicKey(t, 0))
	require.ErrorIs(t, err, client.ErrRegistered)
	require.True(t, client.IsCode(err, api.CodeInvalidCredentials))
}

func TestAPageOfAProxyIsNoEndOfAPoll(t *testing.T) {
	s := newScript(t)
	s.polls(
		func(w http.ResponseWriter, _ string) { says(520, "<html>")(w, nil) },
		func(w http.ResponseWriter, _ string) { says(500, "")(w, nil) },
		answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "e.1"}),
	)
	require.Equal(t, []string{"message 1"}, receive(t, s.messenger(), &memory{at: client.Cursor{Text: "0"}}))
}
