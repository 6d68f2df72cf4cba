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
	// ErrOutcomeUnknown means that the server may have done what it was asked for, or may do it yet: its answer was lost on the
	// way, or what came is not its own. Nothing that would be needed if it had may be thrown away.
	ErrOutcomeUnknown = errors.New("it is not known whether the server has done it")
	// ErrRegistered means that an account is there and has the caller's key, though no session could be opened for it.
	ErrRegistered = errors.New("the account is there and has your key, but no session could be opened")
)

// refusals are the answers of the server that say: nothing was done. Each code comes with one status.
var refusals = map[api.Code]int{
	api.CodeInvalidJSON: http.StatusBadRequest, api.CodeMissingField: http.StatusBadRequest, api.CodeInvalidField: http.StatusBadRequest,
	api.CodeUnknownRecipients: http.StatusBadRequest, api.CodeWeakPassword: http.StatusBadRequest,
	api.CodeInvalidPublicKey: http.StatusBadRequest,
	api.CodeNoToken:          http.StatusUnauthorized, api.CodeInvalidToken: http.StatusUnauthorized, api.CodeTokenExpired: http.StatusUnauthorized,
	api.CodeTokenRevoked: http.StatusUnauthorized, api.CodeInvalidCredentials: http.StatusUnauthorized,
	api.CodeUsernameTaken: http.StatusConflict, api.CodeIdempotencyMismatch: http.StatusConflict, api.CodeStaleKeys: http.StatusConflict,
	api.CodeBodyTooLarge:         http.StatusRequestEntityTooLarge,
	api.CodeUnsupportedMediaType: http.StatusUnsupportedMediaType,
	api.CodeRateLimited:          http.StatusTooManyRequests,
}

// refused reports whether err proves that a request was not carried out: it never left, or the server itself says so, in its own
// shape. What a proxy says proves nothing, for the server may finish behind it; nor does a status of 500 and above.
func refused(err error) bool {
	var cause *net.OpError
	if errors.As(err, &cause) && cause.Op == "dial" {
		return true
	}
	var answered *api.Error
	return errors.As(err, &answered) && answered.RequestID != "" && answered.Status != 0 && refusals[answered.Code] == answered.Status
}

// claim finds out whose a name is that the server says is taken. It may be the caller's: an earlier attempt made the account, and
// its answer was lost, or something on the way repeated the request. Then it opens a session. The name is somebody else's only if
// all keys that the account ever had are shown to be others: that something was not found proves nothing.
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

// HadKey reports whether one of keys is a key of the user, or was one. If not, the server has shown all that the user ever had.
func (c *Client) HadKey(ctx context.Context, username string, keys ...*rsa.PublicKey) (bool, error) {
	versions, err := c.keyVersions(ctx, username)
	if err != nil {
		return false, err
	}
	for _, version := range versions {
		if slices.ContainsFunc(keys, func(key *rsa.PublicKey) bool { return key.Equal(version) }) {
			return true, nil
		}
	}
	return false, nil
}

// keyVersions are all keys a user has had, by version, as the server says: 1, 2 and so on, none left out.
func (c *Client) keyVersions(ctx context.Context, username string) (map[int]*rsa.PublicKey, error) {
	history, err := c.KeyHistory(ctx, username)
	if err != nil {
		return nil, err
	}
	if !sameName(history.Username, username) {
		return nil, fmt.Errorf("the server gave the keys of %q when asked for those of %q", history.Username, username)
	}
	keys := map[int]*rsa.PublicKey{}
	for i, v := range history.Versions {
		if v.Version != i+1 {
			return nil, fmt.Errorf("version %d of the keys of %s is missing", i+1, username)
		}
		if keys[v.Version], err = envelope.ParsePublicKey(v.PublicKey); err != nil {
			return nil, fmt.Errorf("the key of %s: %w", username, err)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the server knows no key of %s", username)
	}
	return keys, nil
}
