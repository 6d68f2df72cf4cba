// Package httpapi is the auth service's part of the HTTP contract.
package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

// keySetCaching lets verifiers cache the key set: a key is published long before it first signs.
const keySetCaching = "public, max-age=300"

// Accounts is what the routes call. See accounts.Service.
type Accounts interface {
	Register(ctx context.Context, from netip.Addr, r api.RegisterRequest) (accounts.Session, error)
	Login(ctx context.Context, from netip.Addr, r api.LoginRequest) (accounts.Session, error)
	Profile(ctx context.Context, caller token.Identity) (store.Account, error)
	Logout(ctx context.Context, caller token.Identity) error
	LogoutAll(ctx context.Context, caller token.Identity) error
	ChangePassword(ctx context.Context, from netip.Addr, caller token.Identity, r api.PasswordRequest) (accounts.Session, error)
}

// API serves accounts, sessions and the keys that verify tokens.
type API struct {
	Accounts Accounts
	Tokens   httpserver.TokenChecker
	// KeySet returns the keys to publish.
	KeySet func() api.JWKS
	// RegisterLimits bound registrations, LoginLimits everything that checks a password.
	RegisterLimits, LoginLimits Limits
	// VerifyLimit bounds questions about tokens, per address: anybody may ask, and each costs a signature's verification.
	VerifyLimit ratelimit.Limiter
}

// Routes adds the service's routes.
func (a *API) Routes(r gin.IRouter) {
	table := errorTable()
	token := httpserver.RequireToken(a.Tokens)
	r.GET("/.well-known/jwks.json", a.keySet)
	r.POST("/api/auth/register", table.Handle(a.register))
	r.POST("/api/auth/login", table.Handle(a.login))
	r.POST("/api/auth/verify", httpserver.LimitAddress(a.VerifyLimit), table.Handle(a.verify))
	r.GET("/api/auth/profile", token, table.Handle(a.profile))
	r.POST("/api/auth/logout", token, table.Handle(a.logout))
	r.POST("/api/auth/logout-all", token, table.Handle(a.logoutAll))
	r.POST("/api/auth/password", token, table.Handle(a.changePassword))
}

func errorTable() httpserver.ErrorTable {
	return append(httpserver.ErrorTable{
		{Err: accounts.ErrInvalidCredentials, Answer: httpserver.Always(http.StatusUnauthorized, api.CodeInvalidCredentials, "the username or the password is wrong")},
		{Err: accounts.ErrTooManyGuesses, Answer: func(err error) *api.Error {
			var refused *accounts.TooManyGuesses
			if !errors.As(err, &refused) {
				return httpserver.TooManyRequests(0)
			}
			return httpserver.TooManyRequests(refused.RetryAfter)
		}},
		{Err: accounts.ErrSessionsRemain, Answer: func(error) *api.Error {
			e := api.Unavailable("the revocation log", httpserver.RetryAfter(2*time.Second))
			e.Message = "the password was changed, but older tokens are not refused yet: log in with the new password"
			return e
		}},
		{Err: store.ErrUsernameTaken, Answer: func(error) *api.Error {
			e := api.New(http.StatusConflict, api.CodeUsernameTaken, "the username is taken")
			e.Field = "username"
			return e
		}},
		{Err: publickey.ErrInvalid, Answer: func(err error) *api.Error {
			e := api.New(http.StatusBadRequest, api.CodeInvalidPublicKey, err.Error())
			e.Field = "publicKey"
			return e
		}},
		{Err: password.ErrAtCapacity, Answer: func(error) *api.Error {
			e := api.New(http.StatusServiceUnavailable, api.CodeAtCapacity, "too many passwords are being checked at the moment")
			e.RetryAfter = httpserver.RetryAfter(2 * time.Second)
			return e
		}},
		{Err: ratelimit.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the rate limiter")},
		{Err: revocation.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the revocation log")},
		{Err: store.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the account store")},
		{Err: store.ErrConflict, Answer: httpserver.UnavailableAnswer("the account")},
	}, httpserver.TokenErrors()...)
}

func (a *API) register(c *gin.Context) error {
	var r api.RegisterRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	var session accounts.Session
	err := a.RegisterLimits.during(c, r.Username, func() (err error) {
		session, err = a.Accounts.Register(c.Request.Context(), clientAddress(c), r)
		return err
	})
	if err != nil {
		return err
	}
	setCookie(c, session)
	c.JSON(http.StatusCreated, answer("account created", session))
	return nil
}

func (a *API) login(c *gin.Context) error {
	var r api.LoginRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	var session accounts.Session
	err := a.LoginLimits.during(c, r.Username, func() (err error) {
		session, err = a.Accounts.Login(c.Request.Context(), clientAddress(c), r)
		return err
	})
	if err != nil {
		return err
	}
	setCookie(c, session)
	c.JSON(http.StatusOK, answer("logged in", session))
	return nil
}

func (a *API) changePassword(c *gin.Context) error {
	var r api.PasswordRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	caller := httpserver.Caller(c)
	var session accounts.Session
	err := a.LoginLimits.during(c, caller.Subject, func() (err error) {
		session, err = a.Accounts.ChangePassword(c.Request.Context(), clientAddress(c), caller, r)
		return err
	})
	if err != nil {
		return err
	}
	changed := answer("password changed; all other sessions have ended", session)
	changed.Username = ""
	setCookie(c, session)
	c.JSON(http.StatusOK, changed)
	return nil
}

// clientAddress returns the client's address; an invalid one if it is not known.
func clientAddress(c *gin.Context) netip.Addr {
	address, _ := netip.ParseAddr(c.ClientIP())
	return address
}

// setCookie shows a client that keeps no cursor where its session begins: see api.ReadCookie.
func setCookie(c *gin.Context, s accounts.Session) {
	if s.Begin != nil {
		c.Header("Set-Cookie", api.ReadCookie{Session: s.Identity.SessionID, Epoch: s.Begin.Epoch, Position: s.Begin.Position}.String())
	}
}

func answer(message string, s accounts.Session) api.SessionResponse {
	return api.SessionResponse{
		Message: message, Token: s.Token, Username: s.Identity.Username, ExpiresAt: api.At(s.Identity.ExpiresAt),
	}
}

func (a *API) profile(c *gin.Context) error {
	account, err := a.Accounts.Profile(c.Request.Context(), httpserver.Caller(c))
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.ProfileResponse{
		Username: account.Username, PublicKey: account.Key.PEM, KeyVersion: account.Key.Version,
		CreatedAt: api.At(account.CreatedAt), LastLogin: api.At(account.LastLogin),
	})
	return nil
}

func (a *API) logout(c *gin.Context) error {
	if err := a.Accounts.Logout(c.Request.Context(), httpserver.Caller(c)); err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.MessageResponse{Message: "logged out"})
	return nil
}

func (a *API) logoutAll(c *gin.Context) error {
	if err := a.Accounts.LogoutAll(c.Request.Context(), httpserver.Caller(c)); err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.MessageResponse{Message: "all sessions have ended"})
	return nil
}

// verify answers whether a token is valid. An invalid token is a regular answer of the same shape, not an error.
func (a *API) verify(c *gin.Context) error {
	var r api.VerifyRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	if r.Token == "" {
		return api.MissingField("token")
	}
	id, err := a.Tokens.Check(c.Request.Context(), r.Token)
	switch {
	case errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrExpired), errors.Is(err, token.ErrRevoked):
		c.Header("WWW-Authenticate", "Bearer")
		c.JSON(http.StatusUnauthorized, api.VerifyResponse{Valid: false})
		return nil
	case err != nil:
		return err
	}
	expiresAt := api.At(id.ExpiresAt)
	c.JSON(http.StatusOK, api.VerifyResponse{Valid: true, Username: id.Username, ExpiresAt: &expiresAt})
	return nil
}

func (a *API) keySet(c *gin.Context) {
	c.Header("Cache-Control", keySetCaching)
	c.JSON(http.StatusOK, a.KeySet())
}
