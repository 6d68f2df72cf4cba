// Package attacks has clients that misuse a server with ordinary accounts, each in a way that once shut everybody out. They run while an honest
// user goes on: see TestAnHonestUserIsServedDuring, in the tests of package cluster.
package attacks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
)

const (
	password = "a long password"
	keyBits  = 2048
	// retryAfter is how long an attacker waits before it does again what was ended. With less, it would be the processor that the attackers
	// of one machine fill, and not the bound.
	retryAfter = 500 * time.Millisecond
)

// Account is an account of a server, whose requests come from an address of its own.
type Account struct {
	Name, Token string
	// URL is the server's address.
	URL    string
	client *http.Client
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// Register opens an account. network and host choose the address on the loopback interface, 127.0.network.host, that its requests come from.
func Register(ctx context.Context, url, name string, network, host byte) (*Account, error) {
	a := Stranger(url, name, network, host)
	var err error
	a.Token, err = a.register(ctx, name, publickeytest.PEM(keyBits, int64(network)<<8+int64(host)))
	return a, err
}

// register opens an account and returns its token.
func (a *Account) register(ctx context.Context, name, key string) (token string, err error) {
	text, err := a.Do(ctx, http.MethodPost, "/api/auth/register", registration(name, key))
	if err != nil {
		return "", err
	}
	var session struct{ Token string }
	err = json.Unmarshal(text, &session)
	return session.Token, err
}

// Crowd opens n accounts from a's address, all with one key, and returns their names.
func (a *Account) Crowd(ctx context.Context, prefix string, n int) ([]string, error) {
	key := publickeytest.PEM(keyBits, 0)
	names := make([]string, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
		group.Go(func() error {
			_, err := a.register(ctx, names[i], key)
			return err
		})
	}
	return names, group.Wait()
}

// Stranger is somebody without an account, or who is not logged in, whose requests come from 127.0.network.host.
func Stranger(url, name string, network, host byte) *Account {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, network, host)}}
	return &Account{Name: name, URL: url, client: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}, dial: dialer.DialContext}
}

func registration(name, key string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q,"publicKey":%q}`, name, password, key)
}

// LogsIn logs in to the account, and keeps the token it has.
func (a *Account) LogsIn(ctx context.Context) error {
	_, err := a.Do(ctx, http.MethodPost, "/api/auth/login", fmt.Sprintf(`{"username":%q,"password":%q}`, a.Name, password))
	return err
}

// FloodsPasswords guesses the password of a user and registers accounts by turns, with a pause after each, as many times as it can.
func (a *Account) FloodsPasswords(ctx context.Context, victim string, between time.Duration) {
	key := publickeytest.PEM(keyBits, 1)
	for n := 0; ctx.Err() == nil; n++ {
		path, body := "/api/auth/login", fmt.Sprintf(`{"username":%q,"password":"wrong %d"}`, victim, n)
		if n%2 == 1 {
			path, body = "/api/auth/register", registration(fmt.Sprintf("%s_%d", a.Name, n), key)
		}
		_, _ = a.Do(ctx, http.MethodPost, path, body)
		pause(ctx, between)
	}
}

// Close closes the account's idle connections.
func (a *Account) Close() { a.client.CloseIdleConnections() }

// Do makes a request and returns the body of its answer. An answer that is no success is an error.
func (a *Account) Do(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.Token != "" {
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

// Message is the body of a send of so many bytes. An id is its clientMessageId; empty for none.
func Message(size int, id string, to ...string) string {
	keys := make([]string, len(to))
	for i, name := range to {
		keys[i] = fmt.Sprintf("%q:%q", name, strings.Repeat("ab", 256))
	}
	if id != "" {
		id = fmt.Sprintf(`"clientMessageId":%q,`, id)
	}
	return fmt.Sprintf(`{%s"encryptedContent":%q,"iv":"000000000000000000000000","recipientKeys":{%s}}`, id, strings.Repeat("00", size/2), strings.Join(keys, ","))
}

// Send sends a message of so many bytes to the users of these names.
func (a *Account) Send(ctx context.Context, size int, to ...string) error {
	_, err := a.Do(ctx, http.MethodPost, "/api/messages/send", Message(size, "", to...))
	return err
}

// Broadcasts sends to many, again and again.
func (a *Account) Broadcasts(ctx context.Context, to []string) {
	for ctx.Err() == nil {
		_ = a.Send(ctx, 1<<10, to...) // refused or not
		pause(ctx, retryAfter)
	}
}

// ReusesIDs sends other content under an id that it has used, again and again.
func (a *Account) ReusesIDs(ctx context.Context, to []string) {
	for size := 2; ctx.Err() == nil; size += 2 {
		_, _ = a.Do(ctx, http.MethodPost, "/api/messages/send", Message(size, "the same", to...)) // all but the first are refused
		pause(ctx, retryAfter)
	}
}

// NamesTooMany sends to more recipients than there may be, as many as a body of size bytes has room for, again and again.
func (a *Account) NamesTooMany(ctx context.Context, size int) {
	var body strings.Builder
	body.WriteString(`{"encryptedContent":"00","iv":"000000000000000000000000","recipientKeys":{"a":""`)
	for i := 0; body.Len() < size; i++ {
		fmt.Fprintf(&body, `,"%x":""`, i)
	}
	body.WriteString("}}")
	for ctx.Err() == nil {
		_, _ = a.Do(ctx, http.MethodPost, "/api/messages/send", body.String()) // refused
		pause(ctx, retryAfter)
	}
}

// WithholdsBodies sends all but the end of a body of size bytes, again and again.
func (a *Account) WithholdsBodies(ctx context.Context, size int) {
	body := Message(size, "", a.Name)
	a.again(ctx, strings.TrimPrefix(a.URL, "http://"), func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "POST /api/messages/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			a.Token, len(body), body[:len(body)-64])
		_, _ = bufio.NewReader(conn).ReadByte() // until it is ended
	})
}

// LeavesUnread asks for a path at an address and takes no more than the status of the answer, again and again.
func (a *Account) LeavesUnread(ctx context.Context, address, path string) {
	a.again(ctx, address, func(conn net.Conn) {
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10) // and its own kernel takes as little as it can
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, a.Token)
		var status [len("HTTP/1.1 200")]byte
		if _, err := io.ReadFull(conn, status[:]); err != nil || !bytes.HasSuffix(status[:], []byte("200")) {
			return
		}
		for { // a write to a connection that was cut fails
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			if _, err := conn.Write([]byte("\r\n")); err != nil {
				return
			}
		}
	})
}

// Holds holds a connection to an address, again and again, and asks for nothing.
func (a *Account) Holds(ctx context.Context, address string) {
	a.again(ctx, address, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1)) // until it is ended
	})
}

// Polls holds a poll open, again and again.
func (a *Account) Polls(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := a.Do(ctx, http.MethodGet, "/api/messages/poll?after=latest&wait=60", "")
		if err != nil {
			pause(ctx, retryAfter)
		}
	}
}

// again does something with one connection to an address after the other, until ctx ends.
func (a *Account) again(ctx context.Context, address string, do func(net.Conn)) {
	for ctx.Err() == nil {
		conn, err := a.dial(ctx, "tcp", address)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			do(conn)
			stop()
			_ = conn.Close()
		}
		pause(ctx, retryAfter)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
