package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// publicKey is shared by all accounts of these tests: nothing here is encrypted.
var publicKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
})

// client is a user of a server that may be killed. It uses plain HTTP.
type client struct {
	http  *http.Client
	url   string
	token string
}

func newClient(t *testing.T, url string) *client {
	c := &client{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: time.Minute}, url: url}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// call makes a request and returns the status; 0 if the answer was incomplete.
func (c *client) call(ctx context.Context, method, path string, in, out any) int {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			panic(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || (out != nil && json.Unmarshal(text, out) != nil) {
		return 0
	}
	return res.StatusCode
}

// register opens an account and keeps its token.
func (c *client) register(t *testing.T, name string) {
	t.Helper()
	var session api.SessionResponse
	status := c.call(t.Context(), http.MethodPost, "/api/auth/register", api.RegisterRequest{Username: name, Password: "correct horse", PublicKey: publicKey()}, &session)
	require.Equal(t, http.StatusCreated, status)
	c.token = session.Token
}

// sendRequest makes a send of content to names, with content as its client message id too.
func sendRequest(content string, to ...string) api.SendRequest {
	r := api.SendRequest{EncryptedContent: content, IV: "00", RecipientKeys: map[string]string{}, ClientMessageID: content}
	for _, name := range to {
		r.RecipientKeys[name] = "key"
	}
	return r
}
