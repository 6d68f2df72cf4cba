package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

// post sends in as JSON. The caller may retry what post does not. whole recognizes the server's answers.
func post[T any](ctx context.Context, c *Client, r request, in any, whole func(T) bool) (T, error) {
	var out T
	var err error
	r.method, r.take = http.MethodPost, into(&out, whole)
	if r.body, err = json.Marshal(in); err != nil {
		return out, err
	}
	err = c.call(ctx, r)
	return out, err
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values, whole func(T) bool) (T, error) {
	return getLong(ctx, c, path, query, 0, whole)
}

// getLong is get for an answer that may be long: of most bytes, or of maxAnswerBytes if that is 0.
func getLong[T any](ctx context.Context, c *Client, path string, query url.Values, most int64, whole func(T) bool) (T, error) {
	var out T
	err := c.call(ctx, request{method: http.MethodGet, path: path, query: query, repeatable: true, most: most, take: into(&out, whole)})
	return out, err
}

const (
	// mostMessageBytes is enough for the largest message that a server may be set to take, with all that goes with it.
	mostMessageBytes = 66 << 20
	// mostHistoryBytes is enough for a page of 50 of the largest messages that a server takes unless it is set to.
	mostHistoryBytes = 256 << 20
	// mostKeysBytes is enough for a thousand keys, five times what a server with pages gives at once.
	mostKeysBytes = 16 << 20
)

// into decodes answers into out. What is not whole is not one of the server's.
func into[T any](out *T, whole func(T) bool) func([]byte) error {
	return func(text []byte) error {
		var v T // a new one: nothing may remain of an earlier answer
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
		if !whole(v) {
			return errors.New("it lacks what the server always says")
		}
		*out = v
		return nil
	}
}

// Register opens an account and uses its token from now on. If the account already exists with this very key, it opens a session.
// So after ErrOutcomeUnknown, call it again with the same arguments to finish the registration. It does not retry automatically,
// because attempts count. ErrRegistered means that the account exists and only a Login is missing.
func (c *Client) Register(ctx context.Context, username, password, publicKey string) (api.SessionResponse, error) {
	r := api.RegisterRequest{Username: username, Password: password, PublicKey: publicKey}
	s, err := post(ctx, c, request{path: "/api/auth/register", mutating: true}, r, wholeSession)
	if IsCode(err, api.CodeUsernameTaken) && refused(err) {
		s, err = c.claim(ctx, r, err)
	}
	return c.use(s, err)
}

// Login opens a session and uses its token from now on.
func (c *Client) Login(ctx context.Context, username, password string) (api.SessionResponse, error) {
	return c.use(post(ctx, c, request{path: "/api/auth/login"}, api.LoginRequest{Username: username, Password: password}, wholeSession))
}

// ChangePassword changes the password, refuses all other tokens, and uses the new one from now on. After ErrOutcomeUnknown, a Login
// with the new password shows whether the change took place, and completes it.
func (c *Client) ChangePassword(ctx context.Context, current, next string) (api.SessionResponse, error) {
	r := api.PasswordRequest{CurrentPassword: current, NewPassword: next}
	return c.use(post(ctx, c, request{path: "/api/auth/password", mutating: true}, r, wholeSession))
}

func wholeSession(s api.SessionResponse) bool { return s.Token != "" }

// use keeps the token of a new session.
func (c *Client) use(s api.SessionResponse, err error) (api.SessionResponse, error) {
	if err == nil {
		c.SetToken(s.Token)
	}
	return s, err
}

// Logout revokes the token everywhere. After ErrOutcomeUnknown it can be called again; it fails if the token is revoked already.
func (c *Client) Logout(ctx context.Context) error { return c.end(ctx, "/api/auth/logout") }

// LogoutAll revokes every token of the account.
func (c *Client) LogoutAll(ctx context.Context) error { return c.end(ctx, "/api/auth/logout-all") }

func (c *Client) end(ctx context.Context, path string) error {
	_, err := post(ctx, c, request{path: path, repeatable: true, mutating: true}, struct{}{}, wholeMessage)
	return err
}

func wholeMessage(m api.MessageResponse) bool { return m.Message != "" }

// Profile is the caller's account.
func (c *Client) Profile(ctx context.Context) (api.ProfileResponse, error) {
	return get(ctx, c, "/api/auth/profile", nil, func(p api.ProfileResponse) bool { return p.Username != "" })
}

// UserKey is the current key of a user, according to the server.
func (c *Client) UserKey(ctx context.Context, username string) (api.UserKeyResponse, error) {
	return get(ctx, c, "/api/keys/user/"+url.PathEscape(username), nil,
		func(k api.UserKeyResponse) bool { return k.Username != "" && k.PublicKey != "" })
}

// KeyHistory is a page of the keys of a user according to the server, oldest first: the newest keys, or those below the version before. A server
// of before pages gives all keys at once. HadKey reads what it needs of all pages.
func (c *Client) KeyHistory(ctx context.Context, username string, before, limit int) (api.KeyHistoryResponse, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		q.Set("before", strconv.Itoa(before))
	}
	return getLong(ctx, c, "/api/keys/user/"+url.PathEscape(username)+"/history", q, mostKeysBytes,
		func(h api.KeyHistoryResponse) bool { return h.Username != "" })
}

// UpdateKey makes publicKey the caller's key. It may be called again with the same key: if that is already current, nothing
// changes. password is the account's: with it, nobody replaces the key without it from then on, however they came by a token. An account
// that has never given it may leave it empty, unless the server asks for it (api.CodePasswordRequired).
func (c *Client) UpdateKey(ctx context.Context, publicKey, password string) (api.UpdateKeyResponse, error) {
	return post(ctx, c, request{path: "/api/users/update-key", repeatable: true, mutating: true},
		api.UpdateKeyRequest{PublicKey: publicKey, CurrentPassword: password},
		func(r api.UpdateKeyResponse) bool { return r.Version > 0 })
}

// SendSealed sends a sealed message. It retries the unchanged request until it is acknowledged or the patience is exhausted; this
// is safe only if r has a ClientMessageID.
func (c *Client) SendSealed(ctx context.Context, r api.SendRequest) (api.SendResponse, error) {
	return post(ctx, c, request{path: "/api/messages/send", repeatable: r.ClientMessageID != "", mutating: true}, r,
		func(r api.SendResponse) bool { return r.MessageID != "" })
}

// History is a page of what the caller sent and received, newest first: the newest page, or the messages below position before.
func (c *Client) History(ctx context.Context, before int64, limit int) (api.HistoryResponse, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	return getLong(ctx, c, "/api/messages/history", q, mostHistoryBytes, func(h api.HistoryResponse) bool { return h.Messages != nil })
}

// MarkRead tells the sender that the caller has read a message.
func (c *Client) MarkRead(ctx context.Context, messageID string) error {
	_, err := post(ctx, c, request{path: "/api/messages/" + url.PathEscape(messageID) + "/read", repeatable: true}, struct{}{}, wholeMessage)
	return err
}

// PollOption asks something more of a poll.
type PollOption func(*request)

// MaxBytes asks for at most about so many bytes of messages, but for one message at least. Servers of before it ignore it.
func MaxBytes(n int64) PollOption {
	return func(r *request) { r.query.Set("maxBytes", strconv.FormatInt(n, 10)) }
}

// measured tells t how the answer came in.
func measured(t *transfer) PollOption { return func(r *request) { r.measure = t } }

// Poll asks once for what comes after a cursor. If nothing has come, the server waits for at most wait. Poll does not retry. Unless MaxBytes
// says otherwise, it asks for at most 8 MiB of messages.
func (c *Client) Poll(ctx context.Context, after string, limit int, wait time.Duration, options ...PollOption) (api.PollResponse, error) {
	var out api.PollResponse
	r := request{
		method: http.MethodGet, path: "/api/messages/poll", silence: wait,
		query: url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}, "wait": {strconv.Itoa(int(wait / time.Second))}},
		most:  mostPageBytes + mostMessageBytes,
		take:  into(&out, func(p api.PollResponse) bool { return p.Type != "" && p.Cursor != "" }),
	}
	MaxBytes(mostPageBytes)(&r)
	for _, o := range options {
		o(&r)
	}
	err := c.call(ctx, r)
	return out, err
}
