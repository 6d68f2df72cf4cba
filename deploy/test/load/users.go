package load

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/wire"
	"github.com/sealpost/sealpost/pkg/api"
)

const (
	// registrations is how many accounts are opened concurrently: the server is busy hashing their passwords.
	registrations = 8
	// attempts bounds the tries of a request that the server has no room for.
	attempts = 20
	// keyBits is the smallest key that a server accepts: nothing is encrypted with it.
	keyBits = 2048
)

// user is an account with a session.
type user struct {
	name, token string
	// cursor is where its inbox was at the beginning.
	cursor string
}

// users opens n accounts, or finds them open, and a session for each.
func (b *bench) users(ctx context.Context, n int) ([]user, error) {
	if n < 1 {
		return nil, fmt.Errorf("%d users are too few", n)
	}
	key, err := publicKey()
	if err != nil {
		return nil, err
	}
	list := make([]user, n)
	opening, ctx := errgroup.WithContext(ctx)
	opening.SetLimit(registrations)
	for i := range list {
		opening.Go(func() (err error) {
			list[i], err = b.user(ctx, i, key)
			return err
		})
	}
	return list, opening.Wait()
}

// publicKey makes the key that all users share.
func publicKey() (string, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

func (b *bench) user(ctx context.Context, i int, key string) (user, error) {
	u := user{name: fmt.Sprintf("%s%d", b.Prefix, i)}
	conn := wire.NewConn(b.server(i), "")
	defer conn.Close()
	var session api.SessionResponse
	status, err := exchange(ctx, conn, "/api/auth/register", api.RegisterRequest{Username: u.name, Password: b.Password, PublicKey: key}, &session)
	if err == nil && status == http.StatusConflict {
		status, err = exchange(ctx, conn, "/api/auth/login", api.LoginRequest{Username: u.name, Password: b.Password}, &session)
	}
	if err == nil && status >= http.StatusBadRequest {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return u, fmt.Errorf("open the account of %s: %w", u.name, err)
	}
	u.token = session.Token
	return u, nil
}

// exchange posts JSON and reads the answer; it waits and retries while the server has no room.
func exchange(ctx context.Context, conn *wire.Conn, path string, in, out any) (int, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, err
	}
	for n, timer := 1, measure.StoppedTimer(); ; n++ {
		a, err := conn.Do(ctx, wire.Request{Method: http.MethodPost, Path: path, Body: body, Timeout: callTimeout})
		if err != nil {
			return 0, err
		}
		if n < attempts && (a.Status == http.StatusServiceUnavailable || a.Status == http.StatusTooManyRequests) && a.RetryAfter < time.Minute {
			if measure.Pause(ctx, timer, a.RetryAfter) {
				continue
			}
			return 0, ctx.Err()
		}
		if a.Status < http.StatusMultipleChoices {
			err = json.Unmarshal(a.Body, out)
		}
		return a.Status, err
	}
}
