// Package httpapi is the keys service's part of the HTTP contract.
package httpapi

import (
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/keys/internal/directory"
)

// serverKeyCaching lets clients cache the server's key: it never changes in a deployment.
const serverKeyCaching = "public, max-age=300"

// API serves the server's key and the users' keys.
type API struct {
	Directory *directory.Service
	// ServerKey is the deployment's own public key, in PEM.
	ServerKey string
	Tokens    httpserver.TokenChecker
	// LookupLimit bounds look-ups of keys and histories, which need no token, per address.
	LookupLimit ratelimit.Limiter
	// ListLimit bounds directory pages, RotateLimit rotations, both per user.
	ListLimit, RotateLimit ratelimit.Limiter
	// Unread bounds the memory of pages that clients are reading.
	Unread *admission.Pool
}

// Routes adds the service's routes.
func (a *API) Routes(r gin.IRouter) {
	table := errorTable()
	token := httpserver.RequireToken(a.Tokens)
	lookup, list := httpserver.LimitAddress(a.LookupLimit), httpserver.LimitUser(a.ListLimit)
	r.GET("/api/keys/server-public", a.serverKey)
	r.GET("/api/keys/user/:username", lookup, table.Handle(a.userKey))
	pages := httpserver.LimitAnswers(a.Unread)
	r.GET("/api/keys/user/:username/history", lookup, pages, table.Handle(a.history))
	r.GET("/api/keys/users", token, list, pages, table.Handle(a.users))
	r.GET("/api/users/public-keys", token, list, pages, table.Handle(a.users))
	r.POST("/api/users/update-key", token, httpserver.LimitUser(a.RotateLimit), table.Handle(a.rotate))
}

func errorTable() httpserver.ErrorTable {
	return append(httpserver.ErrorTable{
		{Err: directory.ErrUserNotFound, Answer: httpserver.Always(http.StatusNotFound, api.CodeUserNotFound, "there is no such user")},
		{Err: publickey.ErrInvalid, Answer: func(err error) *api.Error {
			e := api.New(http.StatusBadRequest, api.CodeInvalidPublicKey, err.Error())
			e.Field = "publicKey"
			return e
		}},
		{Err: store.ErrKeyProtected, Answer: func(error) *api.Error {
			e := api.New(http.StatusForbidden, api.CodePasswordRequired, "currentPassword is required to replace this account's key")
			e.Field = "currentPassword"
			return e
		}},
		{Err: directory.ErrWrongPassword, Answer: httpserver.Always(http.StatusUnauthorized, api.CodeInvalidCredentials, "currentPassword is wrong")},
		{Err: password.ErrAtCapacity, Answer: func(error) *api.Error {
			e := api.New(http.StatusServiceUnavailable, api.CodeAtCapacity, "too many passwords are being checked at the moment")
			e.RetryAfter = httpserver.RetryAfter(time.Second)
			return e
		}},
		{Err: store.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the key store")},
	}, httpserver.TokenErrors()...)
}

func (a *API) serverKey(c *gin.Context) {
	c.Header("Cache-Control", serverKeyCaching)
	c.JSON(http.StatusOK, api.ServerKeyResponse{PublicKey: a.ServerKey})
}

func (a *API) userKey(c *gin.Context) error {
	user, err := a.Directory.Current(c.Request.Context(), c.Param("username"))
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.UserKeyResponse{
		Username: user.Username, PublicKey: user.Key.PEM, Version: user.Key.Version, Fingerprint: user.Key.Fingerprint,
		UpdatedAt: api.At(user.Key.CreatedAt),
	})
	return nil
}

func (a *API) history(c *gin.Context) error {
	limit, err := httpserver.QueryInt(c, "limit", api.MaxKeyHistoryLimit, 1, api.MaxKeyHistoryLimit)
	if err != nil {
		return err
	}
	before, err := httpserver.QueryInt(c, "before", 0, 1, math.MaxInt32)
	if err != nil {
		return err
	}
	page, err := a.Directory.History(c.Request.Context(), c.Param("username"), int(before), int(limit))
	if err != nil {
		return err
	}
	answer := api.KeyHistoryResponse{Username: page.Username, Versions: make([]api.KeyVersion, 0, len(page.Keys))}
	if page.Next > 0 {
		answer.Next = &page.Next
	}
	for _, key := range page.Keys {
		answer.Versions = append(answer.Versions, api.KeyVersion{
			Version: key.Version, PublicKey: key.PEM, Fingerprint: key.Fingerprint, CreatedAt: api.At(key.CreatedAt),
		})
	}
	return httpserver.JSON(c, http.StatusOK, answer)
}

func (a *API) users(c *gin.Context) error {
	limit, err := httpserver.QueryInt(c, "limit", api.MaxDirectoryLimit, 1, api.MaxDirectoryLimit)
	if err != nil {
		return err
	}
	after := c.Query("after")
	if after != "" && !api.ValidUsername(after) {
		return api.InvalidField("after", "must be a username")
	}
	users, next, err := a.Directory.Page(c.Request.Context(), after, int(limit))
	if err != nil {
		return err
	}
	answer := api.DirectoryResponse{Users: make([]api.DirectoryUser, 0, len(users))}
	for _, user := range users {
		answer.Users = append(answer.Users, api.DirectoryUser{Username: user.Username, PublicKey: user.Key.PEM, Version: user.Key.Version})
	}
	if next != "" {
		answer.Next = &next
	}
	return httpserver.JSON(c, http.StatusOK, answer)
}

func (a *API) rotate(c *gin.Context) error {
	var r api.UpdateKeyRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	if r.PublicKey == "" {
		return api.MissingField("publicKey")
	}
	version, changed, err := a.Directory.Rotate(c.Request.Context(), httpserver.Caller(c), directory.Rotation{PEM: r.PublicKey, Password: r.CurrentPassword})
	if err != nil {
		return err
	}
	message := "public key updated"
	if !changed {
		message = "this is your public key already"
	}
	c.JSON(http.StatusOK, api.UpdateKeyResponse{Message: message, Version: version})
	return nil
}
