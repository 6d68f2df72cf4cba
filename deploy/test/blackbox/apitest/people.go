package apitest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/api"
)

// suite is what all deployments of one run share.
type suite struct {
	contract *contract
	// keys are only a few: making one takes longer than most tests, and nothing here is encrypted.
	keys []publicKey
	// run makes the names of this run unique; people counts them.
	run    string
	people atomic.Int64
	sends  atomic.Int64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	c, err := newContract(api.OpenAPI)
	require.NoError(t, err)
	keys := make([]publicKey, 4)
	var making errgroup.Group
	for i := range keys {
		making.Go(func() error {
			private, err := rsa.GenerateKey(rand.Reader, 2048)
			if err == nil {
				keys[i] = newPublicKey(&private.PublicKey)
			}
			return err
		})
	}
	require.NoError(t, making.Wait())
	return &suite{contract: c, keys: keys, run: strings.ToLower(rand.Text()[:6])}
}

// publicKey is a key as submitted, and its fingerprint.
type publicKey struct {
	pem, fingerprint string
	der              []byte
}

// newPublicKey encodes any public key that crypto/x509 supports.
func newPublicKey(key any) publicKey {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // only for a type that is not a public key
	}
	sum := sha256.Sum256(der)
	return publicKey{pem: block("PUBLIC KEY", der), fingerprint: hex.EncodeToString(sum[:]), der: der}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// user is an account with an open session.
type user struct {
	d              *deployment
	name, password string
	token          string
	key            publicKey
}

// name returns an unused name, with letters of both cases.
func (s *suite) name(stem string) string {
	return fmt.Sprintf("%s_%s%d", stem, s.run, s.people.Add(1))
}

// newUser opens an account.
func (d *deployment) newUser(t *testing.T, stem string) *user {
	t.Helper()
	u, err := d.register(t.Context(), stem)
	require.NoError(t, err)
	return u
}

func (d *deployment) register(ctx context.Context, stem string) (*user, error) {
	u := &user{d: d, name: d.name(stem), password: "correct horse battery", key: d.keys[0]}
	a, err := d.do(ctx, call{path: "/api/auth/register", json: u.registration()})
	if err != nil {
		return nil, err
	}
	session, err := decode[api.SessionResponse](a, http.StatusCreated)
	u.token = session.Token
	return u, err
}

// newUsers opens accounts whose names begin with the stems.
func (d *deployment) newUsers(t *testing.T, stems ...string) []*user {
	t.Helper()
	users := make([]*user, len(stems))
	for i, stem := range stems {
		users[i] = d.newUser(t, stem)
	}
	return users
}

func (u *user) registration() api.RegisterRequest {
	return api.RegisterRequest{Username: u.name, Password: u.password, PublicKey: u.key.pem}
}

// login opens another session of the account.
func (u *user) login(t *testing.T) *user {
	t.Helper()
	a := u.d.must(t, call{path: "/api/auth/login", json: api.LoginRequest{Username: u.name, Password: u.password}})
	again := *u
	again.token = into[api.SessionResponse](t, a, http.StatusOK).Token
	return &again
}

func (u *user) get(t *testing.T, path string) answer {
	t.Helper()
	return u.d.must(t, call{path: path, token: u.token})
}

func (u *user) post(t *testing.T, path string, body any) answer {
	t.Helper()
	return u.d.must(t, call{method: http.MethodPost, path: path, token: u.token, json: body})
}

// canonical is the form in which names are compared.
func (u *user) canonical() string { return strings.ToLower(u.name) }

// letter is a new message for the given users, each with its own wrapped key.
func (u *user) letter(to ...*user) api.SendRequest {
	n := u.d.sends.Add(1)
	r := api.SendRequest{
		EncryptedContent: fmt.Sprintf("content %d of %s", n, u.d.run), IV: fmt.Sprintf("iv %d", n), RecipientKeys: map[string]string{},
	}
	for _, reader := range to {
		r.RecipientKeys[reader.name] = wrapped(reader, n)
	}
	return r
}

func wrapped(reader *user, n int64) string { return fmt.Sprintf("key %d for %s", n, reader.name) }

// sends sends a new letter to the given users and requires that it is accepted.
func (u *user) sends(t *testing.T, to ...*user) (api.SendRequest, api.SendResponse) {
	t.Helper()
	r := u.letter(to...)
	return r, u.sendsAs(t, r)
}

func (u *user) sendsAs(t *testing.T, r api.SendRequest) api.SendResponse {
	t.Helper()
	return into[api.SendResponse](t, u.post(t, "/api/messages/send", r), http.StatusCreated)
}

// reads marks a message as read.
func (u *user) reads(t *testing.T, id string) {
	t.Helper()
	into[api.MessageResponse](t, u.post(t, "/api/messages/"+id+"/read", nil), http.StatusOK)
}

// message fetches one message.
func (u *user) message(t *testing.T, id string) api.Message {
	t.Helper()
	return into[api.Message](t, u.get(t, "/api/messages/"+id), http.StatusOK)
}

// history fetches a page of the history.
func (u *user) history(t *testing.T, query string) api.HistoryResponse {
	t.Helper()
	return into[api.HistoryResponse](t, u.get(t, "/api/messages/history"+query), http.StatusOK)
}

// profile fetches the account.
func (u *user) profile(t *testing.T) api.ProfileResponse {
	t.Helper()
	return into[api.ProfileResponse](t, u.get(t, "/api/auth/profile"), http.StatusOK)
}

func mustHex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	return raw
}
