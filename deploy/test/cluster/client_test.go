package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/serverkey"
)

// answer is the response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask makes a request; the status is 0 if there was no complete answer.
func ask(t *testing.T, url, method, path, token string, in any) answer {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		require.NoError(t, err)
		body = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url+path, body)
	if err != nil {
		return answer{}
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}
	}
	return answer{res.StatusCode, res.Header, text}
}

var transport = &http.Transport{MaxIdleConnsPerHost: 10, IdleConnTimeout: 5 * time.Second}

// call is ask; it decodes the body of a success into out.
func call(t *testing.T, url, method, path, token string, in, out any) int {
	a := ask(t, url, method, path, token, in)
	if out != nil && a.status < 300 && a.status > 0 {
		require.NoError(t, json.Unmarshal(a.body, out))
	}
	return a.status
}

// user registers a user and returns the token.
func (r *rig) user(name string) string {
	r.t.Helper()
	var s api.SessionResponse
	status := call(r.t, r.Balancer.URL(), http.MethodPost, "/api/auth/register", "",
		api.RegisterRequest{Username: name, Password: "correct horse", PublicKey: publicKey()}, &s)
	require.Equal(r.t, http.StatusCreated, status)
	return s.Token
}

// publicKey is a key that all users share: nothing is encrypted here.
var publicKey = sync.OnceValue(func() string {
	pair, err := serverkey.New()
	if err != nil {
		panic(err)
	}
	public, err := serverkey.Public(pair)
	if err != nil {
		panic(err)
	}
	return public
})

func (r *rig) send(n *cluster.Node, token, content string, to ...string) {
	r.t.Helper()
	request := api.SendRequest{EncryptedContent: content, IV: "00", RecipientKeys: map[string]string{}}
	for _, name := range to {
		request.RecipientKeys[name] = "key"
	}
	require.Equal(r.t, http.StatusCreated, call(r.t, n.URL(), http.MethodPost, "/api/messages/send", token, request, nil))
}

func (r *rig) poll(n *cluster.Node, token, query string) (p api.PollResponse) {
	r.t.Helper()
	require.Equal(r.t, http.StatusOK, call(r.t, n.URL(), http.MethodGet, "/api/messages/poll?"+query, token, nil, &p))
	return p
}

func (r *rig) get(n *cluster.Node, token, path string) string {
	r.t.Helper()
	a := ask(r.t, n.URL(), http.MethodGet, path, token, nil)
	require.Equal(r.t, http.StatusOK, a.status, "%s", a.body)
	return string(a.body)
}
