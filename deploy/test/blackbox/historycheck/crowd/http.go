package crowd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

// callTimeout bounds one call: a server that has stopped answering must not stop the crowd.
const callTimeout = 20 * time.Second

var transport = &http.Transport{MaxIdleConnsPerHost: 200, IdleConnTimeout: 30 * time.Second}

// publicKey is a key that all users share: nothing here is encrypted.
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

func (u *user) register(ctx context.Context) error {
	var session api.SessionResponse
	status := u.callWith(ctx, "", http.MethodPost, u.crowd.o.URL, "/api/auth/register",
		api.RegisterRequest{Username: u.name, Password: "correct horse", PublicKey: publicKey()}, &session)
	if status != http.StatusCreated {
		return fmt.Errorf("register %s: status %d", u.name, status)
	}
	u.token = session.Token
	return nil
}

func (u *user) call(method, url, path string, in, out any) int {
	return u.callWith(context.Background(), u.token, method, url, path, in, out)
}

// callWith makes a request and returns the status; 0 if there was no complete answer.
func (u *user) callWith(ctx context.Context, token, method, url, path string, in, out any) int {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			panic(err) // the types are ours
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url+path, body)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := (&http.Client{Transport: transport, Jar: u.jar}).Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || (out != nil && res.StatusCode < 300 && json.Unmarshal(text, out) != nil) {
		return 0
	}
	return res.StatusCode
}

func (u *user) closeIdle() { transport.CloseIdleConnections() }
