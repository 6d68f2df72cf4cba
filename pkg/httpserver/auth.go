package httpserver

import (
	"context"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/token"
)

// TokenChecker returns whose token it is, or why it is invalid, as one of the errors of package token.
type TokenChecker interface {
	Check(ctx context.Context, raw string) (token.Identity, error)
}

// TokenErrors are the rows that every service shares: the answers to invalid tokens.
func TokenErrors() ErrorTable {
	return ErrorTable{
		{token.ErrExpired, Always(http.StatusUnauthorized, api.CodeTokenExpired, "the token has expired: log in again")},
		{token.ErrRevoked, Always(http.StatusUnauthorized, api.CodeTokenRevoked, "the token has been revoked: log in again")},
		{token.ErrInvalid, Always(http.StatusUnauthorized, api.CodeInvalidToken, "the token is not valid")},
		{token.ErrNoAccount, Always(http.StatusUnauthorized, api.CodeInvalidToken, "the token's account does not exist")},
		{token.ErrUnavailable, UnavailableAnswer("the revocation check")},
	}
}

// RequireToken lets requests with a valid bearer token pass and answers the others.
func RequireToken(checker TokenChecker) gin.HandlerFunc {
	tokenErrors := TokenErrors()
	return func(c *gin.Context) {
		raw, ok := Bearer(c.Request)
		if !ok {
			tokenErrors.Write(c, api.New(http.StatusUnauthorized, api.CodeNoToken, "a bearer token is required"))
			return
		}
		id, err := checker.Check(c.Request.Context(), raw)
		if err != nil {
			tokenErrors.Write(c, err)
			return
		}
		e := exchangeOf(c)
		e.caller, e.known = id, true
	}
}

// Caller returns the identity that RequireToken found. It panics on a route without RequireToken: that is a programming error, and
// must not become an answer without a user.
func Caller(c *gin.Context) token.Identity {
	e := exchangeIn(c.Request.Context())
	if e == nil || !e.known {
		panic("httpserver: no RequireToken stands before this route")
	}
	return e.caller
}

// Bearer returns the token of the Authorization header (RFC 6750), if present.
func Bearer(r *http.Request) (raw string, ok bool) {
	scheme, raw, found := strings.Cut(r.Header.Get("Authorization"), " ")
	raw = strings.TrimSpace(raw)
	return raw, found && strings.EqualFold(scheme, "Bearer") && raw != ""
}
