package client

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// maxWraps bounds how often one message is wrapped anew because keys were rotated meanwhile.
const maxWraps = 5

// Messenger sends and receives as a user whose keys it holds.
type Messenger struct {
	*Client
	Username string
	Keys     *keyfile.Ring
	// Pins are the keys of others that the user has come to trust.
	Pins Pins
}

// Incoming is a message that the user received, opened.
type Incoming struct {
	api.Message
	// Plaintext is nil if Fault says why the message cannot be opened.
	Plaintext []byte
	Fault     error
}

// NewMessageID makes an id under which a message can be sent again and again and comes once.
func NewMessageID() string { return rand.Text() }

// Send seals plaintext for the recipients, and for the user itself so that its own history can be read, and sends it.
// With the same id it can be called again until it succeeds only if it has not sealed anything yet: see Seal and
// SendSealed for more control.
func (m *Messenger) Send(ctx context.Context, plaintext []byte, to ...string) (api.SendResponse, error) {
	sealed, err := m.Seal(ctx, plaintext, NewMessageID(), to...)
	if err != nil {
		return api.SendResponse{}, err
	}
	return m.SendWrappingAgain(ctx, sealed, plaintext, to...)
}

// SendWrappingAgain sends what Seal made. Where keys have been rotated since, which the server tells before it has
// written anything, it seals again, under the same id, for the new ones, if the pins allow.
func (m *Messenger) SendWrappingAgain(ctx context.Context, sealed api.SendRequest, plaintext []byte, to ...string) (api.SendResponse, error) {
	for range maxWraps {
		answer, err := m.SendSealed(ctx, sealed)
		if !IsCode(err, api.CodeStaleKeys) {
			return answer, err
		}
		if sealed, err = m.Seal(ctx, plaintext, sealed.ClientMessageID, to...); err != nil {
			return api.SendResponse{}, err
		}
	}
	return api.SendResponse{}, errors.New("the recipients' keys change faster than the message can be wrapped for them")
}

// Seal looks the recipients' keys up, holds them against the pins, and seals plaintext for them and for the user.
func (m *Messenger) Seal(ctx context.Context, plaintext []byte, id string, to ...string) (api.SendRequest, error) {
	keys, versions := map[string]*rsa.PublicKey{}, map[string]int{}
	for _, name := range to {
		if sameName(name, m.Username) {
			continue
		}
		public, found, err := m.TrustedKey(ctx, name)
		if err != nil {
			return api.SendRequest{}, err
		}
		keys[found.Username], versions[found.Username] = public, found.Version
	}
	own := m.Keys.Current()
	keys[m.Username] = &own.Private.PublicKey
	if own.Version > 0 {
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

// TrustedKey asks the server for a user's key. A key that is seen for the first time is pinned; one that differs from
// the pinned one is a *KeyChangedError, until the user accepts it.
func (m *Messenger) TrustedKey(ctx context.Context, username string) (*rsa.PublicKey, api.UserKeyResponse, error) {
	found, err := m.UserKey(ctx, username)
	if err != nil {
		return nil, found, err
	}
	if !sameName(found.Username, username) {
		return nil, found, fmt.Errorf("the server gave the key of %q when asked for that of %q", found.Username, username)
	}
	public, fingerprint, err := readKey(found)
	if err != nil {
		return nil, found, err
	}
	return public, found, m.checkPin(found.Username, fingerprint)
}

// readKey reads a key that the server gave. The fingerprint is computed here: the server's word for it is no proof.
func readKey(found api.UserKeyResponse) (*rsa.PublicKey, string, error) {
	public, err := envelope.ParsePublicKey(found.PublicKey)
	if err != nil {
		return nil, "", fmt.Errorf("the key of %s: %w", found.Username, err)
	}
	fingerprint, err := envelope.Fingerprint(public)
	return public, fingerprint, err
}

func (m *Messenger) checkPin(username, fingerprint string) error {
	pinned, err := m.Pins.Pinned(username)
	switch {
	case err != nil:
		return err
	case pinned == "":
		return m.Pins.Pin(username, fingerprint)
	case pinned != fingerprint:
		return &KeyChangedError{Username: username, Pinned: pinned, Offered: fingerprint}
	}
	return nil
}

// Open decrypts a message that the user received.
func (m *Messenger) Open(message api.Message) Incoming {
	in := Incoming{Message: message}
	for name, wrapped := range message.RecipientKeys {
		if sameName(name, m.Username) {
			keys := m.Keys.Candidates(message.RecipientKeyVersions[name])
			in.Plaintext, in.Fault = envelope.Open(message.EncryptedContent, message.IV, wrapped, keys...)
			return in
		}
	}
	in.Fault = errors.New("the message has no key for " + m.Username)
	return in
}

// RotateKey makes a new key and has the server give it out from now on. save is called before the server learns of it,
// so that no message can be sealed for a key that is not kept, and again once the server has numbered it.
func (m *Messenger) RotateKey(ctx context.Context, bits int, save func(*keyfile.Ring) error) (version int, err error) {
	private, err := envelope.GenerateKey(bits)
	if err != nil {
		return 0, err
	}
	text, err := envelope.EncodePublicKey(&private.PublicKey)
	if err != nil {
		return 0, err
	}
	next := &keyfile.Ring{Keys: append(m.Keys.Keys[:len(m.Keys.Keys):len(m.Keys.Keys)], keyfile.Key{Private: private})}
	if err := save(next); err != nil {
		return 0, err
	}
	answer, err := m.UpdateKey(ctx, text)
	if err != nil {
		return 0, err
	}
	next.Keys[len(next.Keys)-1].Version = answer.Version
	m.Keys = next
	return answer.Version, save(next)
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }
