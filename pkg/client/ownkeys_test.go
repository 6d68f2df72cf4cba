package client_test

import (
	"crypto/rsa"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// directory is Alice's keys as the server has them.
type directory struct {
	t *testing.T
	// mu is held by handlers: if its answer is lost, a call ends before its handler does.
	mu   sync.Mutex
	keys []string
	// told counts the keys that were sent.
	told int
	// lossy means that the answer to a key is lost after the server has taken it.
	lossy atomic.Bool
}

func (s *script) directory(first *rsa.PrivateKey) *directory {
	d := &directory{t: s.t}
	d.add(first)
	s.on("POST /api/users/update-key", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.told++
		if text := decode[api.UpdateKeyRequest](s.t, r).PublicKey; d.keys[len(d.keys)-1] != text {
			d.keys = append(d.keys, text)
		}
		if d.lossy.Load() {
			panic(http.ErrAbortHandler)
		}
		reply(w, 200, api.UpdateKeyResponse{Version: len(d.keys)})
	})
	s.on("GET /api/keys/user/Alice/history", func(w http.ResponseWriter, _ *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		answer := api.KeyHistoryResponse{Username: "Alice"}
		for i, key := range d.keys {
			answer.Versions = append(answer.Versions, api.KeyVersion{Version: i + 1, PublicKey: key})
		}
		reply(w, 200, answer)
	})
	return d
}

func (d *directory) add(key *rsa.PrivateKey) {
	text, err := envelope.EncodePublicKey(&key.PublicKey)
	require.NoError(d.t, err)
	d.keys = append(d.keys, text)
}

// versions are all keys so far.
func (d *directory) versions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.keys)
}

func (d *directory) current() *rsa.PublicKey {
	keys := d.versions()
	key, err := envelope.ParsePublicKey(keys[len(keys)-1])
	require.NoError(d.t, err)
	return key
}

// sealed is a message for Alice, for the key that the server gives out.
func (d *directory) sealed() api.Message {
	s, err := envelope.Seal([]byte("hello"), map[string]*rsa.PublicKey{"Alice": d.current()})
	require.NoError(d.t, err)
	return api.Message{
		EncryptedContent: s.Content, IV: s.IV, RecipientKeys: s.Keys, RecipientKeyVersions: map[string]int{"Alice": len(d.versions())},
	}
}

// keeper stores keys.
type keeper struct{ kept *keyfile.Ring }

func (k *keeper) save(r *keyfile.Ring) error {
	k.kept = r
	return nil
}

func TestARotationWhoseAnswerIsLostIsFinishedByTheNext(t *testing.T) {
	s := newScript(t)
	d := s.directory(testKeys()[0])
	d.lossy.Store(true)
	k := &keeper{}
	m := s.messenger(client.WithPatience(0))
	_, err := m.RotateKey(t.Context(), "", 2048, k.save)
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.Len(t, d.versions(), 2)
	require.NoError(t, m.Open(d.sealed()).Fault)

	again := s.messenger()
	again.Keys = k.kept // another run, with the stored keys
	require.NoError(t, again.Open(d.sealed()).Fault, "the server gives the key out, so it is kept")
	require.Equal(t, 1, again.Keys.Current().Version)
	version, err := again.RotateKey(t.Context(), "", 2048, k.save)
	require.NoError(t, err)
	require.Equal(t, 2, version)
	require.Len(t, d.versions(), 2, "the rotation that was begun is the one that was asked for")
	require.Len(t, k.kept.Keys, 2)
	require.Equal(t, 2, k.kept.Current().Version)
	require.True(t, k.kept.Current().Private.PublicKey.Equal(d.current()))

	d.lossy.Store(false)
	version, err = again.RotateKey(t.Context(), "", 2048, k.save)
	require.NoError(t, err)
	require.Equal(t, 3, version)
	require.Len(t, k.kept.Keys, 3)
}

func TestAKeyThatTheServerHasNotTakenIsHandedInAgain(t *testing.T) {
	s := newScript(t)
	d := s.directory(testKeys()[0])
	m := s.messenger()
	m.Keys = m.Keys.With(testKeys()[1])
	k := &keeper{}
	version, err := m.RotateKey(t.Context(), "", 2048, k.save)
	require.NoError(t, err)
	require.Equal(t, 2, version)
	require.True(t, d.current().Equal(&testKeys()[1].PublicKey))
	require.Len(t, k.kept.Keys, 2)
}

func TestAKeyThatIsAnOldOneByNowIsNotMadeCurrentAgain(t *testing.T) {
	s := newScript(t)
	d := s.directory(testKeys()[0])
	d.add(testKeys()[1]) // that rotation took place
	d.add(testKeys()[2]) // and then one on another machine
	m := s.messenger()
	m.Keys = m.Keys.With(testKeys()[1])
	k := &keeper{}
	version, err := m.RotateKey(t.Context(), "", 2048, k.save)
	require.NoError(t, err)
	require.Equal(t, 4, version)
	require.Equal(t, []int{1, 2, 4}, []int{k.kept.Keys[0].Version, k.kept.Keys[1].Version, k.kept.Keys[2].Version})
}

func TestNoKeyIsTheServersBeforeItIsKept(t *testing.T) {
	s := newScript(t)
	d := s.directory(testKeys()[0])
	full := errors.New("disk full")
	m := s.messenger()
	_, err := m.RotateKey(t.Context(), "", 2048, func(*keyfile.Ring) error { return full })
	require.ErrorIs(t, err, full)
	require.Zero(t, d.told)
	require.Len(t, m.Keys.Keys, 1)
}

// TestAMessageForAKeyThatWasRotatedElsewhereIsOpened: the key was rotated in another terminal.
func TestAMessageForAKeyThatWasRotatedElsewhereIsOpened(t *testing.T) {
	s := newScript(t)
	d := s.directory(testKeys()[0])
	m := s.messenger()
	reads := 0
	m.Reload = func() (*keyfile.Ring, error) {
		if reads++; reads > 1 {
			return nil, nil
		}
		return m.Keys.With(testKeys()[1]), nil
	}
	d.add(testKeys()[1])
	require.NoError(t, m.Open(d.sealed()).Fault)
	require.NoError(t, m.Open(d.sealed()).Fault)
	require.Equal(t, 1, reads)
	d.add(testKeys()[2]) // a key that is not on this machine
	require.ErrorIs(t, m.Open(d.sealed()).Fault, envelope.ErrCannotOpen)

	gone := errors.New("gone")
	m.Reload = func() (*keyfile.Ring, error) { return nil, gone }
	fault := m.Open(d.sealed()).Fault
	require.ErrorIs(t, fault, envelope.ErrCannotOpen)
	require.ErrorIs(t, fault, gone)
}

// sends accepts messages as the server does: only with the current version of Alice's key, if they have a version.
func (s *script) sends(d *directory) *[]api.SendRequest {
	sent := &[]api.SendRequest{}
	s.on("POST /api/messages/send", func(w http.ResponseWriter, r *http.Request) {
		q := decode[api.SendRequest](s.t, r)
		if v := q.RecipientKeyVersions["Alice"]; v != 0 && v != len(d.keys) {
			refuse(w, 409, api.CodeStaleKeys, func(e *api.Error) { e.Stale = map[string]int{"Alice": len(d.keys)} })
			return
		}
		*sent = append(*sent, q)
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	})
	return sent
}

func TestASendGoesOnAfterTheSendersOwnKeyWasRotated(t *testing.T) {
	for name, c := range map[string]struct {
		keys func(m *client.Messenger)
		// told is the version that is finally sent.
		told int
	}{
		"in another terminal": {func(m *client.Messenger) {
			ring := m.Keys.With(testKeys()[1])
			ring.Keys[1].Version = 2
			m.Reload = func() (*keyfile.Ring, error) { return ring, nil }
		}, 2},
		"in another terminal, which waits for the answer": {func(m *client.Messenger) {
			ring := m.Keys.With(testKeys()[1])
			m.Reload = func() (*keyfile.Ring, error) { return ring, nil }
		}, 2},
		"by a rotation whose answer was lost": {func(m *client.Messenger) { m.Keys = m.Keys.With(testKeys()[1]) }, 2},
		"on another machine":                  {func(*client.Messenger) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			d := s.directory(testKeys()[0])
			d.add(testKeys()[1])
			s.key("Bob", 1, testKeys()[2])
			sent := s.sends(d)
			m := s.messenger()
			c.keys(m)
			for range 2 {
				_, err := m.Send(t.Context(), []byte("hello"), "Bob")
				require.NoError(t, err)
			}
			require.Len(t, *sent, 2)
			for _, q := range *sent {
				require.Equal(t, c.told, q.RecipientKeyVersions["Alice"])
				in := m.Open(api.Message{EncryptedContent: q.EncryptedContent, IV: q.IV, RecipientKeys: q.RecipientKeys})
				require.NoError(t, in.Fault, "a sender reads its own messages")
			}
		})
	}
}

func TestWhatBecameOfARotationCanBeAsked(t *testing.T) {
	s := newScript(t)
	d := s.directory(testKeys()[0])
	m := s.messenger()
	d.add(testKeys()[1])
	require.NoError(t, m.ResolveCandidates(t.Context()))
	require.Equal(t, 1, m.Keys.Current().Version, "without a candidate there is nothing to ask")
	m.Keys = m.Keys.With(testKeys()[1])
	require.NoError(t, m.ResolveCandidates(t.Context()))
	require.Equal(t, 2, m.Keys.Current().Version)
	require.Nil(t, m.Keys.Candidate())

	m.Keys = m.Keys.With(testKeys()[2])
	d.keys = nil
	require.Error(t, m.ResolveCandidates(t.Context()), "an answer without keys proves nothing")
}
