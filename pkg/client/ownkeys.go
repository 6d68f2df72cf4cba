package client

import (
	"context"
	"crypto/rsa"
	"errors"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// RotateKey makes a new key and asks the server to give it out from now on; password is as for UpdateKey. It calls save before the
// server gets the key, so that no message can be sealed for a key that is not stored, and again once the server has numbered it.
//
// A key whose rotation fails stays as a candidate: the server may have taken it, or may take it yet (see ErrOutcomeUnknown). The
// next call continues with it; if the server gives it out already, nothing else is needed. If the key storage is shared, the caller
// must lock it from before it loads the keys: see lockedfile.
func (m *Messenger) RotateKey(ctx context.Context, password string, bits int, save func(*keyfile.Ring) error) (version int, err error) {
	ring, taken, err := m.settle(ctx)
	if err != nil {
		return 0, err
	}
	if taken {
		return ring.Current().Version, m.keep(ring, save)
	}
	candidate := ring.Candidate()
	if candidate == nil {
		if candidate, err = envelope.GenerateKey(bits); err != nil {
			return 0, err
		}
		ring = ring.With(candidate)
		if err := m.keep(ring, save); err != nil {
			return 0, err
		}
	}
	text, err := envelope.EncodePublicKey(&candidate.PublicKey)
	if err != nil {
		return 0, err
	}
	answer, err := m.UpdateKey(ctx, text, password)
	if err != nil {
		return 0, err
	}
	ring = ring.Numbered(map[int]*rsa.PublicKey{answer.Version: &candidate.PublicKey})
	return answer.Version, m.keep(ring, save)
}

// ResolveCandidates finds out which candidates the server has taken. Without candidates it makes no request.
func (m *Messenger) ResolveCandidates(ctx context.Context) error {
	ring, _, err := m.settle(ctx)
	if err == nil {
		m.replace(ring)
	}
	return err
}

// settle returns the ring with the server's version numbers for candidates. taken means that the server's current key is one of
// them.
func (m *Messenger) settle(ctx context.Context) (settled *keyfile.Ring, taken bool, err error) {
	ring := m.ring()
	if ring.Candidate() == nil {
		return ring, false, nil
	}
	settled, latest := ring, 0
	err = m.eachKey(ctx, m.Username, func(version int, key *rsa.PublicKey) (more bool) {
		latest = max(latest, version)
		// The newest come first, so a candidate that had several versions gets the highest, as it must.
		settled = settled.Numbered(map[int]*rsa.PublicKey{version: key})
		return settled.Candidate() != nil
	})
	if err != nil {
		return nil, false, err
	}
	return settled, ring.Current().Version < latest && settled.Current().Version == latest, nil
}

// catchUp looks for the user's current key after the server has refused a message because the user's own key is stale.
func (m *Messenger) catchUp(ctx context.Context, stale error) error {
	version := m.ownVersion(stale)
	if version == 0 {
		return nil // only others' keys are stale
	}
	if _, err := m.reload(m.ring()); err != nil {
		return err
	}
	ring, _, err := m.settle(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Keys, m.elsewhere = ring, ring.Current().Version != version
	return nil
}

// ownVersion is the version of the user's key that a refusal names, 0 if it names none.
func (m *Messenger) ownVersion(stale error) int {
	var answered *api.Error
	if errors.As(stale, &answered) {
		for name, version := range answered.Stale {
			if api.SameUsername(name, m.Username) {
				return version
			}
		}
	}
	return 0
}

func (m *Messenger) ring() *keyfile.Ring {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Keys
}

// own returns the key for the user's own copy of a message. tell says whether to send its version: if the server gives out a key
// of another machine of the user, which holds this key, too, it would refuse this key's version.
func (m *Messenger) own() (key keyfile.Key, tell bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key = m.Keys.Current()
	return key, key.Version > 0 && !m.elsewhere
}

func (m *Messenger) replace(ring *keyfile.Ring) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Keys = ring
}

// keep saves keys before it uses them.
func (m *Messenger) keep(ring *keyfile.Ring, save func(*keyfile.Ring) error) error {
	err := save(ring)
	if err == nil {
		m.replace(ring)
	}
	return err
}

// reload takes over the stored keys, and reports whether there are others than tried.
func (m *Messenger) reload(tried *keyfile.Ring) (changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Keys != tried || m.Reload == nil {
		return m.Keys != tried, nil
	}
	ring, err := m.Reload()
	if err != nil || ring == nil {
		return false, err
	}
	m.Keys, m.elsewhere = ring, false
	return true, nil
}
