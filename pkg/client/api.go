package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

// pollMargin is how much longer than its wait a poll may take.
const pollMargin = 15 * time.Second

// post sends in as JSON. What it does not repeat, the caller may.
func post[T any](ctx context.Context, c *Client, path string, in any, repeatable bool) (T, error) {
	var out T
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, request{method: http.MethodPost, path: path, body: body, repeatable: repeatable}, &out)
	return out, err
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var out T
	err := c.call(ctx, request{method: http.MethodGet, path: path, query: query, repeatable: true}, &out)
	return out, err
}

// Register opens an account and uses its token from now on.
func (c *Client) Register(ctx context.Context, username, password, publicKey string) (api.SessionResponse, error) {
	s, err := post[api.SessionResponse](ctx, c, "/api/auth/register", api.RegisterRequest{Username: username, Password: password, PublicKey: publicKey}, false)
	if err == nil {
		c.SetToken(s.Token)
	}
	return s, err
}

// Login opens a session and uses its token from now on.
func (c *Client) Login(ctx context.Context, username, password string) (api.SessionResponse, error) {
	s, err := post[api.SessionResponse](ctx, c, "/api/auth/login", api.LoginRequest{Username: username, Password: password}, false)
	if err == nil {
		c.SetToken(s.Token)
	}
	return s, err
}

// ChangePassword changes the password, refuses all other tokens, and uses the new one from now on.
func (c *Client) ChangePassword(ctx context.Context, current, next string) (api.SessionResponse, error) {
	s, err := post[api.SessionResponse](ctx, c, "/api/auth/password", api.PasswordRequest{CurrentPassword: current, NewPassword: next}, false)
	if err == nil {
		c.SetToken(s.Token)
	}
	return s, err
}

// Logout has the token refused everywhere.
func (c *Client) Logout(ctx context.Context) error {
	_, err := post[api.MessageResponse](ctx, c, "/api/auth/logout", struct{}{}, true)
	return err
}

// LogoutAll has every token of the account refused.
func (c *Client) LogoutAll(ctx context.Context) error {
	_, err := post[api.MessageResponse](ctx, c, "/api/auth/logout-all", struct{}{}, true)
	return err
}

// Profile is the caller's account.
func (c *Client) Profile(ctx context.Context) (api.ProfileResponse, error) {
	return get[api.ProfileResponse](ctx, c, "/api/auth/profile", nil)
}

// UserKey is the current key of a user, as the server says.
func (c *Client) UserKey(ctx context.Context, username string) (api.UserKeyResponse, error) {
	return get[api.UserKeyResponse](ctx, c, "/api/keys/user/"+url.PathEscape(username), nil)
}

// UpdateKey makes publicKey the caller's key.
func (c *Client) UpdateKey(ctx context.Context, publicKey string) (api.UpdateKeyResponse, error) {
	return post[api.UpdateKeyResponse](ctx, c, "/api/users/update-key", api.UpdateKeyRequest{PublicKey: publicKey}, true)
}

// SendSealed hands in a sealed message. It is repeated, as it is, until it is acknowledged or the patience is at an
// end; r needs a ClientMessageID for that to be safe.
func (c *Client) SendSealed(ctx context.Context, r api.SendRequest) (api.SendResponse, error) {
	return post[api.SendResponse](ctx, c, "/api/messages/send", r, r.ClientMessageID != "")
}

// History is a page of what the caller sent and received, newest first: the newest, or what is below position before.
func (c *Client) History(ctx context.Context, before int64, limit int) (api.HistoryResponse, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	return get[api.HistoryResponse](ctx, c, "/api/messages/history", q)
}

// MarkRead tells the sender that a message was read.
func (c *Client) MarkRead(ctx context.Context, messageID string) error {
	_, err := post[api.MessageResponse](ctx, c, "/api/messages/"+url.PathEscape(messageID)+"/read", struct{}{}, true)
	return err
}

// Poll asks once what is after a cursor, and lets the server wait for something to come. It is not repeated.
func (c *Client) Poll(ctx context.Context, after string, limit int, wait time.Duration) (api.PollResponse, error) {
	var out api.PollResponse
	err := c.call(ctx, request{
		method: http.MethodGet, path: "/api/messages/poll", timeout: wait + pollMargin,
		query: url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}, "wait": {strconv.Itoa(int(wait / time.Second))}},
	}, &out)
	return out, err
}
