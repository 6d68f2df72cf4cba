package client

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// maxWraps bounds how often a message is wrapped again because keys were rotated meanwhile.
const maxWraps = 5

// Messenger sends and receives as a user, with that user's keys. It may be used concurrently.
type Messenger struct {
	*Client
	Username string
	// Keys are the initial keys. Messenger replaces them when the user's keys are rotated.
	Keys *keyfile.Ring
	// Reload returns the stored keys, or nil if they have not changed. It is called when a message cannot be opened, and when the
	// server knows a newer key: another process may have rotated it. It may be nil.
	Reload func() (*keyfile.Ring, error)
	// Pins are the keys of others that the user trusts.
	Pins Pins
	// OnReset, unless nil, is called when the server says that its log has begun anew, as after a restore from a backup, and Receive begins
	// again. A server can also say so to hide or to repeat messages.
	OnReset func()

	// mu guards Keys and elsewhere.
	mu sync.Mutex
	// elsewhere means that the server gives out a key that is not held here, from another machine of the user.
	elsewhere bool
}

// Incoming is a received and opened message.
type Incoming struct {
	api.Message
	// Plaintext is nil if the message cannot be opened; then Fault says why.
	Plaintext []byte
	Fault     error
}

// NewMessageID makes an id under which a message can be sent repeatedly and is delivered once.
func NewMessageID() string { return rand.Text() }

// Send seals plaintext for the recipients, and for the user itself so that its own history can be read, and sends it.
// Each call is a new message: to repeat one whose outcome is unknown, use Seal once and SendSealed for each try.
func (m *Messenger) Send(ctx context.Context, plaintext []byte, to ...string) (api.SendResponse, error) {
	sealed, err := m.Seal(ctx, plaintext, NewMessageID(), to...)
	if err != nil {
		return api.SendResponse{}, err
	}
	return m.SendRewrapping(ctx, sealed, plaintext, to...)
}

// SendRewrapping sends what Seal made. If keys were rotated since, which the server reports before it writes anything, it seals
// again for the new keys, under the same id, if the pins allow.
func (m *Messenger) SendRewrapping(ctx context.Context, sealed api.SendRequest, plaintext []byte, to ...string) (api.SendResponse, error) {
	for range maxWraps {
		answer, err := m.SendSealed(ctx, sealed)
		if !IsCode(err, api.CodeStaleKeys) {
			return answer, err
		}
		if err := m.catchUp(ctx, err); err != nil {
			return api.SendResponse{}, err
		}
		if sealed, err = m.Seal(ctx, plaintext, sealed.ClientMessageID, to...); err != nil {
			return api.SendResponse{}, err
		}
	}
	return api.SendResponse{}, errors.New("the recipients' keys change faster than the message can be wrapped for them")
}

// Seal looks up the recipients' keys, checks them against the pins, and seals plaintext for them and for the user.
func (m *Messenger) Seal(ctx context.Context, plaintext []byte, id string, to ...string) (api.SendRequest, error) {
	keys, versions := map[string]*rsa.PublicKey{}, map[string]int{}
	for _, name := range to {
		if api.SameUsername(name, m.Username) {
			continue
		}
		public, found, err := m.TrustedKey(ctx, name)
		if err != nil {
			return api.SendRequest{}, err
		}
		keys[found.Username], versions[found.Username] = public, found.Version
	}
	own, told := m.own()
	keys[m.Username] = &own.Private.PublicKey
	if told {
		versions[m.Username] = own.Version
	}
	s, err := envelope.Seal(plaintext, keys)
	if err != nil {
		return api.SendRequest{}, err
	}
	return api.SendRequest{
		EncryptedContent: s.Content, IV: s.IV, RecipientKeys: s.Keys, RecipientKeyVersions: versions, ClientMessageID: id,
	}, nil
}

// TrustedKey asks the server for a user's key. It pins a key that it sees for the first time. A key that differs from the pinned
// one is a *KeyChangedError, until the user accepts it.
func (m *Messenger) TrustedKey(ctx context.Context, username string) (*rsa.PublicKey, api.UserKeyResponse, error) {
	if !api.ValidUsername(username) {
		return nil, api.UserKeyResponse{}, fmt.Errorf("%q cannot be a username: 3 to 30 letters, digits and underscores", username)
	}
	found, err := m.UserKey(ctx, username)
	if err != nil {
		return nil, found, err
	}
	if !api.SameUsername(found.Username, username) {
		return nil, found, fmt.Errorf("the server gave the key of %q when asked for that of %q", found.Username, username)
	}
	public, fingerprint, err := readKey(found)
	if err != nil {
		return nil, found, err
	}
	return public, found, m.checkPin(username, fingerprint)
}

// readKey parses a key from the server. It computes the fingerprint, because the server's is no proof.
func readKey(found api.UserKeyResponse) (*rsa.PublicKey, string, error) {
	public, err := envelope.ParsePublicKey(found.PublicKey)
	if err != nil {
		return nil, "", fmt.Errorf("the key of %s: %w", found.Username, err)
	}
	fingerprint, err := envelope.Fingerprint(public)
	return public, fingerprint, err
}

func (m *Messenger) checkPin(username, fingerprint string) error {
	pinned, err := m.Pins.PinFirst(username, fingerprint)
	if err == nil && pinned != fingerprint {
		err = &KeyChangedError{Username: username, Pinned: pinned, Offered: fingerprint}
	}
	return err
}

// Open decrypts a message that the user received.
func (m *Messenger) Open(message api.Message) Incoming {
	in := Incoming{Message: message}
	for name, wrapped := range message.RecipientKeys {
		if api.SameUsername(name, m.Username) {
			in.Plaintext, in.Fault = m.open(message, wrapped, message.RecipientKeyVersions[name])
			return in
		}
	}
	in.Fault = errors.New("the message has no key for " + m.Username)
	return in
}

func (m *Messenger) open(message api.Message, wrapped string, version int) ([]byte, error) {
	tried := m.ring()
	plaintext, err := envelope.Open(message.EncryptedContent, message.IV, wrapped, tried.Candidates(version)...)
	if err == nil {
		return plaintext, nil
	}
	switch changed, fault := m.reload(tried); {
	case fault != nil:
		return nil, fmt.Errorf("%w, and they cannot be read again: %w", err, fault)
	case !changed:
		return nil, err
	}
	return envelope.Open(message.EncryptedContent, message.IV, wrapped, m.ring().Candidates(version)...)
}
