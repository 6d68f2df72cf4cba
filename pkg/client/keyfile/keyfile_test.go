package keyfile_test

import (
	"crypto/rsa"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

const quick = 10 // scrypt's work factor in tests

func ring(t *testing.T, versions ...int) *keyfile.Ring {
	r := &keyfile.Ring{}
	for _, v := range versions {
		key, err := envelope.GenerateKey(2048)
		require.NoError(t, err)
		r.Keys = append(r.Keys, keyfile.Key{Version: v, Private: key})
	}
	return r
}

func TestARingIsReadBackWithItsPassphraseAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.age")
	saved := ring(t, 1, 2)
	require.NoError(t, keyfile.Save(path, "open sesame", saved, quick))
	loaded, err := keyfile.Load(path, "open sesame")
	require.NoError(t, err)
	require.Len(t, loaded.Keys, 2)
	for i, k := range loaded.Keys {
		require.Equal(t, saved.Keys[i].Version, k.Version)
		require.True(t, saved.Keys[i].Private.Equal(k.Private))
	}
	_, err = keyfile.Load(path, "open barley")
	require.ErrorIs(t, err, keyfile.ErrWrongPassphrase)
}

func TestTheFileIsForItsOwnerAloneAndShowsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.age")
	require.NoError(t, keyfile.Save(path, "p", ring(t, 1), quick))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(text), "PRIVATE")
	require.Contains(t, string(text), "age-encryption.org/v1")
}

func TestADamagedFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.age")
	require.NoError(t, keyfile.Save(path, "p", ring(t, 1), quick))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text[len(text)-1] ^= 1
	require.NoError(t, os.WriteFile(path, text, 0o600))
	_, err = keyfile.Load(path, "p")
	require.Error(t, err)
	_, err = keyfile.Load(filepath.Join(t.TempDir(), "nothing"), "p")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAFileOpensWithAnyOfSeveralPassphrases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.age")
	require.NoError(t, keyfile.Save(path, "old", ring(t, 1), quick))
	_, err := keyfile.Load(path, "new", "old")
	require.NoError(t, err)
	_, err = keyfile.Load(path, "new", "newer")
	require.ErrorIs(t, err, keyfile.ErrWrongPassphrase)

	f, _, err := keyfile.Open(path, "new", "old")
	require.NoError(t, err)
	require.NoError(t, keyfile.Save(path, "new", ring(t, 1, 2), quick))
	again, err := f.Reload()
	require.NoError(t, err)
	require.Len(t, again.Keys, 2)
}

func TestTheKeyOfTheRightVersionIsTriedFirst(t *testing.T) {
	r := ring(t, 1, 2, 3)
	require.Equal(t, 3, r.Current().Version)
	require.Equal(t, r.Keys[1].Private, r.Candidates(2)[0])
	require.Equal(t, r.Keys[2].Private, r.Candidates(0)[0])
	require.Len(t, r.Candidates(2), 3)
}

// TestACandidateIsKeptAndTriedButNotCurrent: it is unknown whether the server gives it out.
func TestACandidateIsKeptAndTriedButNotCurrent(t *testing.T) {
	r := ring(t, 1, 2)
	require.Nil(t, r.Candidate())
	next := ring(t, 0).Keys[0].Private
	r = r.With(next)
	require.Equal(t, next, r.Candidate())
	require.Equal(t, 2, r.Current().Version)
	require.Contains(t, r.Candidates(3), next)

	numbered := r.Numbered(map[int]*rsa.PublicKey{3: &next.PublicKey, 4: &ring(t, 1).Keys[0].Private.PublicKey})
	require.Equal(t, 3, numbered.Current().Version)
	require.Equal(t, next, numbered.Current().Private)
	require.Nil(t, numbered.Candidate())
	require.Equal(t, next, r.Candidate(), "the ring it was made of is as before")
	again := r.Numbered(map[int]*rsa.PublicKey{3: &next.PublicKey, 5: &next.PublicKey})
	require.Equal(t, 5, again.Current().Version, "of a key that came back")
	require.Equal(t, next, ring(t).With(next).Current().Private, "if there is no other")
}

func TestAFileIsReadAgainOnceItIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.age")
	_, _, err := keyfile.Open(path, "p")
	require.ErrorIs(t, err, os.ErrNotExist)
	first := ring(t, 1)
	require.NoError(t, keyfile.Save(path, "p", first, quick))
	f, loaded, err := keyfile.Open(path, "p")
	require.NoError(t, err)
	require.Len(t, loaded.Keys, 1)
	again, err := f.Reload()
	require.NoError(t, err)
	require.Nil(t, again)
	require.NoError(t, keyfile.Save(path, "p", first.With(ring(t, 0).Keys[0].Private), quick))
	again, err = f.Reload()
	require.NoError(t, err)
	require.Len(t, again.Keys, 2)
	require.NoError(t, keyfile.Save(path, "another", first, quick))
	_, err = f.Reload()
	require.ErrorIs(t, err, keyfile.ErrWrongPassphrase)
	require.NoError(t, os.Remove(path))
	_, err = f.Reload()
	require.ErrorIs(t, err, os.ErrNotExist)
}
