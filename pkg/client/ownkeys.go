package client

import (
	"context"
	"crypto/rsa"
	"errors"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// RotateKey makes a new key and has the server give it out from now on. save is called before the server learns of it,
// so that no message can be sealed for a key that is not kept, and again once the server has numbered it.
//
// A key whose rotation fails stays as a candidate: the server may have taken it all the same, or may take it yet (see
// ErrOutcomeUnknown). The next call goes on with it: if the server gives it out already, that is all there was to do. Whoever
// shares the place where keys are kept has to keep others out of it from before the keys were loaded: see lockedfile.
func (m *Messenger) RotateKey(ctx context.Context, bits int, save func(*keyfile.Ring) error) (version int, err error) {
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
	answer, err := m.UpdateKey(ctx, text)
	if err != nil {
		return 0, err
	}
	ring = ring.Numbered(map[int]*rsa.PublicKey{answer.Version: &candidate.PublicKey})
	return answer.Version, m.keep(ring, save)
}

// SettleKeys finds out which candidates the server has taken. Without candidates it asks nothing.
func (m *Messenger) SettleKeys(ctx context.Context) error {
	ring, _, err := m.settle(ctx)
	if err == nil {
		m.replace(ring)
	}
	return err
}

// settle is the ring with the numbers that the server has given to candidates. taken means that it gives one of them out.
func (m *Messenger) settle(ctx context.Context) (settled *keyfile.Ring, taken bool, err error) {
	ring := m.ring()
	if ring.Candidate() == nil {
		return ring, false, nil
	}
	versions, err := m.keyVersions(ctx, m.Username)
	if err != nil {
		return nil, false, err
	}
	settled = ring.Numbered(versions)
	latest := len(versions)
	return settled, ring.Current().Version < latest && settled.Current().Version == latest, nil
}

// catchUp looks for the user's own key where the server has refused a message because that key has become old.
func (m *Messenger) catchUp(ctx context.Context, stale error) error {
	version := m.ownVersion(stale)
	if version == 0 {
		return nil // it was about others
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
			if sameName(name, m.Username) {
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

// own is the key that the user's own copy of a message is wrapped for, and whether to tell its version. If the server gives out
// a key of another machine of the user, which has this one, too, it would refuse the version of this one.
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

// reload takes the keys that are kept by now, and reports whether there are others than those that were tried.
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
