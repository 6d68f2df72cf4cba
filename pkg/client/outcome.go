package client

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

var (
	// ErrOutcomeUnknown means that the server may have carried out the request, or may yet do so: its answer was lost, or the
	// answer is not the server's. Nothing that is needed if it was carried out may be discarded.
	ErrOutcomeUnknown = errors.New("it is not known whether the server has done it")
	// ErrRegistered means that the account exists with the caller's key, but no session could be opened.
	ErrRegistered = errors.New("the account is there and has your key, but no session could be opened")
)

// refusals are the server's answers that mean that nothing was done. Each code comes with one status.
var refusals = map[api.Code]int{
	api.CodeInvalidJSON: http.StatusBadRequest, api.CodeMissingField: http.StatusBadRequest, api.CodeInvalidField: http.StatusBadRequest,
	api.CodeUnknownRecipients: http.StatusBadRequest, api.CodeWeakPassword: http.StatusBadRequest,
	api.CodeInvalidPublicKey: http.StatusBadRequest,
	api.CodeNoToken:          http.StatusUnauthorized, api.CodeInvalidToken: http.StatusUnauthorized, api.CodeTokenExpired: http.StatusUnauthorized,
	api.CodeTokenRevoked: http.StatusUnauthorized, api.CodeInvalidCredentials: http.StatusUnauthorized,
	api.CodePasswordRequired: http.StatusForbidden,
	api.CodeUsernameTaken:    http.StatusConflict, api.CodeIdempotencyMismatch: http.StatusConflict, api.CodeStaleKeys: http.StatusConflict,
	api.CodeBodyTooLarge:         http.StatusRequestEntityTooLarge,
	api.CodeRequestTimeout:       http.StatusRequestTimeout,
	api.CodeUnsupportedMediaType: http.StatusUnsupportedMediaType,
	api.CodeRateLimited:          http.StatusTooManyRequests,
}

// refused reports whether err proves that a request was not carried out: it was never sent, or the server says so in the format of
// its errors. A proxy's answer proves nothing, because the server may still finish the request; nor does a status of 500 and above.
func refused(err error) bool {
	var cause *net.OpError
	if errors.As(err, &cause) && cause.Op == "dial" {
		return true
	}
	var answered *api.Error
	return errors.As(err, &answered) && answered.RequestID != "" && answered.Status != 0 && refusals[answered.Code] == answered.Status
}

// claim finds out who owns a name that the server says is taken. It may be the caller: an earlier attempt made the account and its
// answer was lost, or an intermediary repeated the request. Then claim opens a session. The name is somebody else's only if all
// keys that the account ever had are shown to be others: "not found" proves nothing.
func (c *Client) claim(ctx context.Context, r api.RegisterRequest, taken error) (api.SessionResponse, error) {
	own, err := envelope.ParsePublicKey(r.PublicKey)
	if err != nil {
		return api.SessionResponse{}, fmt.Errorf("%w: %w", taken, err)
	}
	switch had, err := c.HadKey(ctx, r.Username, own); {
	case err != nil:
		return api.SessionResponse{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case !had:
		return api.SessionResponse{}, taken
	}
	session, err := c.Login(ctx, r.Username, r.Password)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrRegistered, err)
	}
	return session, err
}

// HadKey reports whether one of keys is or was a key of the user. It reads no further than to the first that is. False means that the server has
// shown all keys the user ever had.
func (c *Client) HadKey(ctx context.Context, username string, keys ...*rsa.PublicKey) (bool, error) {
	had := false
	err := c.eachKey(ctx, username, func(_ int, version *rsa.PublicKey) (more bool) {
		had = slices.ContainsFunc(keys, func(key *rsa.PublicKey) bool { return key.Equal(version) })
		return !had
	})
	return had && err == nil, err
}
