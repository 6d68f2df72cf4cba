// Package httpapi is the keys service's part of the HTTP contract.
package httpapi

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/keys/internal/directory"
)

// API answers for public keys.
type API struct {
	Directory *directory.Service
	// ServerKey is the deployment's own public key, PEM.
	ServerKey string
	Tokens    httpserver.TokenChecker
	// ListLimit bounds pages of the directory, RotateLimit rotations, a user.
	ListLimit, RotateLimit ratelimit.Limiter
}

// Routes adds the service's routes.
func (a *API) Routes(r gin.IRouter) {
	table := errorTable()
	token := httpserver.RequireToken(a.Tokens)
	r.GET("/api/keys/server-public", a.serverKey)
	r.GET("/api/keys/user/:username", table.Handle(a.user))
	r.GET("/api/keys/user/:username/history", table.Handle(a.history))
	r.GET("/api/keys/users", token, httpserver.LimitUser(a.ListLimit), table.Handle(a.list))
	r.GET("/api/users/public-keys", token, httpserver.LimitUser(a.ListLimit), table.Handle(a.list))
	r.POST("/api/users/update-key", token, httpserver.LimitUser(a.RotateLimit), table.Handle(a.rotate))
}

func errorTable() httpserver.ErrorTable {
	return append(httpserver.ErrorTable{
		{Err: directory.ErrUserNotFound, Answer: httpserver.Always(http.StatusNotFound, api.CodeUserNotFound, "there is no such user")},
		{Err: directory.ErrNoAccount, Answer: httpserver.Always(http.StatusUnauthorized, api.CodeInvalidToken, "the token's account does not exist")},
		{Err: publickey.ErrInvalid, Answer: func(err error) *api.Error {
			e := api.New(http.StatusBadRequest, api.CodeInvalidPublicKey, err.Error())
			e.Field = "publicKey"
			return e
		}},
		{Err: store.ErrUnavailable, Answer: httpserver.Away("the key directory")},
		{Err: store.ErrConflict, Answer: httpserver.Away("the key directory")},
	}, httpserver.TokenErrors()...)
}

func (a *API) serverKey(c *gin.Context) {
	c.JSON(http.StatusOK, api.ServerKeyResponse{PublicKey: a.ServerKey})
}

func (a *API) user(c *gin.Context) error {
	h, err := a.Directory.History(c.Request.Context(), c.Param("username"))
	if err != nil {
		return err
	}
	key := h.Current()
	c.JSON(http.StatusOK, api.UserKeyResponse{
		Username: h.Username, PublicKey: key.PEM, Version: key.Version, Fingerprint: key.Fingerprint, UpdatedAt: api.At(key.CreatedAt),
	})
	return nil
}

func (a *API) history(c *gin.Context) error {
	h, err := a.Directory.History(c.Request.Context(), c.Param("username"))
	if err != nil {
		return err
	}
	answer := api.KeyHistoryResponse{Username: h.Username, Versions: make([]api.KeyVersion, len(h.Keys))}
	for i, k := range h.Keys {
		answer.Versions[i] = api.KeyVersion{Version: k.Version, PublicKey: k.PEM, Fingerprint: k.Fingerprint, CreatedAt: api.At(k.CreatedAt)}
	}
	c.JSON(http.StatusOK, answer)
	return nil
}

func (a *API) list(c *gin.Context) error {
	limit, err := strconv.Atoi(c.DefaultQuery("limit", strconv.Itoa(api.MaxDirectoryLimit)))
	if err != nil || limit < 1 || limit > api.MaxDirectoryLimit {
		return api.InvalidField("limit", "must be a whole number from 1 to 1000")
	}
	after := c.Query("after")
	if after != "" && !api.ValidUsername(after) {
		return api.InvalidField("after", "must be a username")
	}
	users, next, err := a.Directory.List(c.Request.Context(), after, limit)
	if err != nil {
		return err
	}
	answer := api.DirectoryResponse{Users: make([]api.DirectoryUser, len(users))}
	for i, u := range users {
		answer.Users[i] = api.DirectoryUser{Username: u.Username, PublicKey: u.Key.PEM, Version: u.Key.Version}
	}
	if next != "" {
		answer.Next = &next
	}
	c.JSON(http.StatusOK, answer)
	return nil
}

func (a *API) rotate(c *gin.Context) error {
	var r api.UpdateKeyRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	if r.PublicKey == "" {
		return api.MissingField("publicKey")
	}
	version, err := a.Directory.Rotate(c.Request.Context(), httpserver.Caller(c), r.PublicKey)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.UpdateKeyResponse{Message: "this is your key now", Version: version})
	return nil
}
