package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

// domain answers every call with its error.
type domain struct{ err error }

func (d domain) Register(context.Context, netip.Addr, api.RegisterRequest) (accounts.Session, error) {
	return accounts.Session{}, d.err
}
func (d domain) Login(context.Context, netip.Addr, api.LoginRequest) (accounts.Session, error) {
	return accounts.Session{}, d.err
}
func (d domain) Profile(context.Context, token.Identity) (store.Account, error) {
	return store.Account{}, d.err
}
func (d domain) Logout(context.Context, token.Identity) error    { return d.err }
func (d domain) LogoutAll(context.Context, token.Identity) error { return d.err }
func (d domain) ChangePassword(context.Context, netip.Addr, token.Identity, api.PasswordRequest) (accounts.Session, error) {
	return accounts.Session{}, d.err
}

// checker accepts any token as one of alice's, or refuses it with its error.
type checker struct{ err error }

func (c checker) Check(context.Context, string) (token.Identity, error) {
	return token.Identity{Username: "Alice", Subject: "alice"}, c.err
}

func unlimited() Limits { return Limits{PerName: ratelimit.Off{}, PerAddress: ratelimit.Off{}} }

func serve(a *API, method, path, body string) *httptest.ResponseRecorder {
	return serveFrom(a, "192.0.2.1:1234", method, path, body)
}

func serveFrom(a *API, address, method, path, body string) *httptest.ResponseRecorder {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	a.Routes(engine)
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = address
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer x")
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, r)
	return w
}

const login = `{"username":"alice","password":"secret"}`

func TestEveryErrorOfTheDomainHasItsAnswer(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   api.Code
		field  string
	}{
		{accounts.ErrInvalidCredentials, 401, api.CodeInvalidCredentials, ""},
		{&accounts.TooManyGuesses{RetryAfter: time.Minute}, 429, api.CodeRateLimited, ""},
		{token.ErrNoAccount, 401, api.CodeInvalidToken, ""},
		{fmt.Errorf("%w: %w", accounts.ErrSessionsRemain, revocation.ErrUnavailable), 503, api.CodeUnavailable, ""},
		{store.ErrUsernameTaken, 409, api.CodeUsernameTaken, "username"},
		{publickey.ErrPrivateKey, 400, api.CodeInvalidPublicKey, "publicKey"},
		{password.ErrAtCapacity, 503, api.CodeAtCapacity, ""},
		{revocation.ErrUnavailable, 503, api.CodeUnavailable, ""},
		{store.ErrUnavailable, 503, api.CodeUnavailable, ""},
		{store.ErrConflict, 503, api.CodeUnavailable, ""},
		{api.MissingField("password"), 400, api.CodeMissingField, "password"},
		{password.ErrMalformed, 500, api.CodeInternal, ""},
		{errors.New("a secret detail"), 500, api.CodeInternal, ""},
	} {
		a := &API{Accounts: domain{fmt.Errorf("context: %w", c.err)}, Tokens: checker{}, LoginLimits: unlimited(), RegisterLimits: unlimited()}
		for _, route := range []string{"POST register", "POST login", "GET profile", "POST logout", "POST logout-all", "POST password"} {
			method, name, _ := strings.Cut(route, " ")
			w := serve(a, method, "/api/auth/"+name, login)
			var e api.Error
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &e), route)
			require.Equal(t, c.status, w.Code, "%s: %v", route, c.err)
			require.Equal(t, c.code, e.Code, "%s: %v", route, c.err)
			require.Equal(t, c.field, e.Field, "%s: %v", route, c.err)
			require.NotContains(t, e.Message, "detail")
			require.Equal(t, c.status == 503 || c.status == 429, w.Header().Get("Retry-After") != "", "%s: %v", route, c.err)
		}
	}
}

func TestAPasswordThatIsChangedIsNotSaidToBeUnchanged(t *testing.T) {
	a := &API{Accounts: domain{fmt.Errorf("%w: %w", accounts.ErrSessionsRemain, revocation.ErrUnavailable)}, Tokens: checker{}, LoginLimits: unlimited()}
	require.Contains(t, serve(a, "POST", "/api/auth/password", "{}").Body.String(), "the password was changed")
}

func TestVerifySaysWhetherATokenIsGood(t *testing.T) {
	const path, ask = "/api/auth/verify", `{"token":"x"}`
	for _, err := range []error{token.ErrInvalid, token.ErrExpired, token.ErrRevoked} {
		w := serve(&API{Tokens: checker{err}, VerifyLimit: ratelimit.Off{}}, "POST", path, ask)
		require.Equal(t, 401, w.Code)
		require.JSONEq(t, `{"valid":false}`, w.Body.String())
	}
	w := serve(&API{Tokens: checker{token.ErrUnavailable}, VerifyLimit: ratelimit.Off{}}, "POST", path, ask)
	require.Equal(t, 503, w.Code, "not known is not the same as not good")
	for _, body := range []string{`{}`, `{"token":""}`, `{"token":null}`} {
		w = serve(&API{Tokens: checker{}, VerifyLimit: ratelimit.Off{}}, "POST", path, body)
		require.Equal(t, 400, w.Code)
		require.Contains(t, w.Body.String(), `"missing_field"`)
	}
	w = serve(&API{Tokens: checker{}, VerifyLimit: ratelimit.Off{}}, "POST", path, `{"token":7}`)
	require.Contains(t, w.Body.String(), `"invalid_field"`)
}

func TestQuestionsAboutTokensAreCountedByNetwork(t *testing.T) {
	const path, ask = "/api/auth/verify", `{"token":"x"}`
	limit := &counting{result: allowed(100, 99)}
	a := &API{Tokens: checker{}, VerifyLimit: limit}
	w := serveFrom(a, "[2001:db8:1:2:3:4:5:6]:5", "POST", path, ask)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "limit=100, remaining=99, reset=60", w.Header().Get("RateLimit"))
	require.Equal(t, []string{"2001:db8:1:2::/64"}, limit.keys)

	limit.result = ratelimit.Result{Limit: 100, ResetAfter: time.Minute, RetryAfter: time.Second}
	a.Tokens = checker{errors.New("must not be asked")}
	w = serve(a, "POST", path, ask)
	require.Equal(t, 429, w.Code)
	require.Contains(t, w.Body.String(), `"rate_limited"`)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

// counting is a limiter that records its keys and returns result.
type counting struct {
	keys   []string
	back   []string
	result ratelimit.Result
	err    error
}

func (l *counting) Allow(_ context.Context, key string) (ratelimit.Result, error) {
	l.keys = append(l.keys, key)
	return l.result, l.err
}

func (l *counting) AllowN(ctx context.Context, key string, _ int) (ratelimit.Result, error) {
	return l.Allow(ctx, key)
}

func (l *counting) GiveBack(_ context.Context, key string, _ int) error {
	l.back = append(l.back, key)
	return nil
}

func allowed(limit, remaining int) ratelimit.Result {
	return ratelimit.Result{Allowed: true, Limit: limit, Remaining: remaining, ResetAfter: time.Minute}
}

func TestAttemptsAreCountedByNameAndNetworkAndByNetwork(t *testing.T) {
	for _, c := range []struct{ from, body, name, address string }{
		{"192.0.2.1:5", login, "alice|192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:6", `{"username":"ALICE","password":"x"}`, "alice|192.0.2.1", "192.0.2.1"},
		{"[2001:db8:1:2:3:4:5:6]:5", login, "alice|2001:db8:1:2::/64", "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.1]:5", login, "alice|192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:5", `{"username":"` + strings.Repeat("x", 5000) + `","password":"x"}`, "|192.0.2.1", "192.0.2.1"},
	} {
		name, address := &counting{result: allowed(10, 9)}, &counting{result: allowed(100, 99)}
		a := &API{Accounts: domain{}, LoginLimits: Limits{PerName: name, PerAddress: address}}
		require.Equal(t, 200, serveFrom(a, c.from, "POST", "/api/auth/login", c.body).Code)
		require.Equal(t, []string{c.name}, name.keys)
		require.Equal(t, []string{c.address}, address.keys)
	}
}

func TestAPasswordChangeCountsAsALoginOfTheCaller(t *testing.T) {
	name := &counting{result: allowed(10, 9)}
	a := &API{Accounts: domain{}, Tokens: checker{}, LoginLimits: Limits{PerName: name, PerAddress: ratelimit.Off{}}}
	require.Equal(t, 200, serve(a, "POST", "/api/auth/password", `{"currentPassword":"a","newPassword":"b"}`).Code)
	require.Equal(t, []string{"alice|192.0.2.1"}, name.keys)
}

func TestAboveALimitTheAnswerIs429AndSaysWhenToComeBack(t *testing.T) {
	refused := ratelimit.Result{Limit: 10, ResetAfter: 15 * time.Minute, RetryAfter: 90 * time.Second}
	for name, limits := range map[string]Limits{
		"of the name":    {PerName: &counting{result: refused}, PerAddress: &counting{result: allowed(100, 0)}},
		"of the address": {PerName: &counting{result: allowed(10, 9)}, PerAddress: &counting{result: refused}},
	} {
		a := &API{Accounts: domain{errors.New("must not be asked")}, Tokens: checker{}, LoginLimits: limits, RegisterLimits: limits}
		for _, route := range []string{"login", "register", "password"} {
			w := serve(a, "POST", "/api/auth/"+route, login)
			require.Equal(t, 429, w.Code, name)
			require.Contains(t, w.Body.String(), `"rate_limited"`)
			require.Equal(t, "limit=10, remaining=0, reset=900", w.Header().Get("RateLimit"))
			require.Contains(t, []string{"90", "91", "92", "93"}, w.Header().Get("Retry-After"), "the truth, and at most three seconds more")
		}
	}
}

func TestAnAddressWithoutQuotaUsesUpNobodysName(t *testing.T) {
	name := &counting{result: allowed(10, 9)}
	a := &API{Accounts: domain{}, LoginLimits: Limits{PerName: name, PerAddress: &counting{result: ratelimit.Result{Limit: 100}}}}
	require.Equal(t, 429, serve(a, "POST", "/api/auth/login", login).Code)
	require.Empty(t, name.keys)
}

func TestTheClientIsToldOfTheLimitItIsCloserTo(t *testing.T) {
	for _, c := range []struct {
		name, address ratelimit.Result
		want          string
	}{
		{allowed(10, 9), allowed(100, 99), "limit=10, remaining=9, reset=60"},
		{allowed(10, 9), allowed(100, 3), "limit=100, remaining=3, reset=60"},
		{ratelimit.Result{Allowed: true}, ratelimit.Result{Allowed: true}, ""},
	} {
		a := &API{Accounts: domain{}, LoginLimits: Limits{PerName: &counting{result: c.name}, PerAddress: &counting{result: c.address}}}
		require.Equal(t, c.want, serve(a, "POST", "/api/auth/login", login).Header().Get("RateLimit"))
	}
}

func TestALimiterThatIsAwayLetsNobodyGuess(t *testing.T) {
	away := &counting{err: ratelimit.ErrUnavailable}
	for _, limits := range []Limits{{PerName: away, PerAddress: ratelimit.Off{}}, {PerName: ratelimit.Off{}, PerAddress: away}} {
		w := serve(&API{Accounts: domain{}, LoginLimits: limits}, "POST", "/api/auth/login", login)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Contains(t, w.Body.String(), `"unavailable"`)
	}
}

func TestWhatWasRefusedUncheckedUsesUpNoQuota(t *testing.T) {
	for _, c := range []struct {
		err  error
		back bool
	}{
		{nil, false},
		{accounts.ErrInvalidCredentials, false},
		{api.MissingField("password"), false},
		{store.ErrUsernameTaken, false},
		{password.ErrAtCapacity, true},
		{&accounts.TooManyGuesses{RetryAfter: time.Minute}, true},
		{ratelimit.ErrUnavailable, true},
		{store.ErrUnavailable, true},
	} {
		for _, route := range []string{"login", "register", "password"} {
			name, address := &counting{result: allowed(10, 9)}, &counting{result: allowed(100, 99)}
			limits := Limits{PerName: name, PerAddress: address}
			a := &API{Accounts: domain{c.err}, Tokens: checker{}, LoginLimits: limits, RegisterLimits: limits}
			w := serve(a, "POST", "/api/auth/"+route, login)
			if !c.back {
				require.Empty(t, append(name.back, address.back...), "%s: %v", route, c.err)
				continue
			}
			require.Equal(t, name.keys, name.back, "%s: %v", route, c.err)
			require.Equal(t, address.keys, address.back, "%s: %v", route, c.err)
			require.Empty(t, w.Header().Get("RateLimit"), "%s: %v", route, c.err)
		}
	}
}

func TestAnAttemptBeyondANamesQuotaUsesUpNoneOfTheAddresss(t *testing.T) {
	for _, name := range []*counting{{result: ratelimit.Result{Limit: 10}}, {err: ratelimit.ErrUnavailable}} {
		address := &counting{result: allowed(100, 99)}
		a := &API{Accounts: domain{errors.New("must not be asked")}, LoginLimits: Limits{PerName: name, PerAddress: address}}
		require.Contains(t, []int{429, 503}, serve(a, "POST", "/api/auth/login", login).Code)
		require.Equal(t, address.keys, address.back)
		require.Empty(t, name.back)
	}
}
