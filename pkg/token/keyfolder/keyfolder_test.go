package keyfolder_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/keyfolder"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func private(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	text, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	return string(text)
}

func public(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func kid(key ed25519.PrivateKey) string { return token.KeyID(key.Public().(ed25519.PublicKey)) }

// world is a folder, a node that reads it, and the node's clock.
type world struct {
	*testing.T
	dir string
	now time.Time
	log bytes.Buffer
	*keyfolder.Folder
}

func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), now: time.Now()}
	w.hold(files)
	w.open()
	return w
}

// open restarts the node.
func (w *world) open() {
	w.Helper()
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	var err error
	w.Folder, err = keyfolder.Open(keyfolder.Config{
		Dir: w.dir, Log: log, Reporter: livefile.NewReporter(log, nil), Now: func() time.Time { return w.now },
	})
	require.NoError(w.T, err)
}

// hold makes the folder hold exactly these files.
func (w *world) hold(files map[string]string) {
	w.Helper()
	entries, err := os.ReadDir(w.dir)
	require.NoError(w.T, err)
	for _, e := range entries {
		require.NoError(w.T, os.Remove(filepath.Join(w.dir, e.Name())))
	}
	for name, text := range files {
		require.NoError(w.T, os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600))
	}
}

// change is hold followed by a read of the node.
func (w *world) change(files map[string]string) {
	w.Helper()
	w.hold(files)
	w.Refresh()
}

// is requires the signing key and the other published keys.
func (w *world) is(signing ed25519.PrivateKey, others ...ed25519.PrivateKey) {
	w.Helper()
	id, key := w.Signing()
	require.Equal(w.T, kid(signing), id)
	require.True(w.T, signing.Equal(key))
	var want, published []string
	for _, k := range append(others, signing) {
		want = append(want, kid(k))
		_, known := w.Key(kid(k))
		require.True(w.T, known)
	}
	for _, k := range w.JWKS().Keys {
		published = append(published, k.KeyID)
	}
	require.ElementsMatch(w.T, want, published)
}

func TestARotationPublishesTheNewKeyThenSignsWithItThenForgetsTheOld(t *testing.T) {
	before, after := newKey(t), newKey(t)
	w := newWorld(t, map[string]string{"signing.pem": private(t, before)})
	w.is(before)
	w.change(map[string]string{"signing.pem": private(t, before), "next.pem": private(t, after)})
	w.is(before, after)
	w.now = w.now.Add(keyfolder.PublishBeforeSigning)
	w.change(map[string]string{"signing.pem": private(t, after), "old.pem": public(t, before)})
	w.is(after, before)
	w.change(map[string]string{"signing.pem": private(t, after)})
	w.is(after)
	_, known := w.Key(kid(before))
	require.False(t, known)
	require.Equal(t, 1, strings.Count(w.log.String(), "the signing key of tokens has changed"))
}

func TestAKeyThatVerifiersMayNotKnowYetDoesNotSign(t *testing.T) {
	before, after := newKey(t), newKey(t)
	w := newWorld(t, map[string]string{"signing.pem": private(t, before)})
	hasty := map[string]string{"signing.pem": private(t, after), "old.pem": public(t, before)}
	w.change(hasty)
	w.is(before, after)
	w.now = w.now.Add(keyfolder.PublishBeforeSigning - time.Second)
	w.Refresh()
	w.is(before, after)
	w.now = w.now.Add(time.Second)
	w.Refresh()
	w.is(after, before)
}

func TestAKeyThatWasTakenAwaySignsNoMore(t *testing.T) {
	stolen, after := newKey(t), newKey(t)
	w := newWorld(t, map[string]string{"signing.pem": private(t, stolen)})
	w.change(map[string]string{"signing.pem": private(t, after)})
	w.is(after)
}

func TestARotationThatIsTakenBackIsTakenBackAtOnce(t *testing.T) {
	before, after := newKey(t), newKey(t)
	w := newWorld(t, map[string]string{"signing.pem": private(t, before), "next.pem": private(t, after)})
	w.change(map[string]string{"signing.pem": private(t, after), "old.pem": private(t, before)})
	w.is(after, before)
	w.change(map[string]string{"signing.pem": private(t, before), "next.pem": private(t, after)})
	w.is(before, after)
}

func TestAFolderThatCannotBeUsedLeavesTheKeysAsTheyAre(t *testing.T) {
	key, other := newKey(t), newKey(t)
	w := newWorld(t, map[string]string{"signing.pem": private(t, key)})
	for what, files := range map[string]map[string]string{
		"half a file":                {"signing.pem": private(t, other), "old.pem": private(t, key)[:60]},
		"nothing in it":              {"signing.pem": private(t, key), "next.pem": ""},
		"a public key that is none":  {"signing.pem": private(t, key), "next.pem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
		"no key that signs":          {"next.pem": private(t, other)},
		"only half of what signs":    {"signing.pem": public(t, other)},
		"no files":                   {},
		"what is to sign is no PEM":  {"signing.pem": "secret"},
		"two keys in one file":       {"signing.pem": private(t, key) + private(t, other)},
		"a public key with a second": {"signing.pem": private(t, key), "old.pem": public(t, key) + public(t, other)},
	} {
		w.change(map[string]string{"signing.pem": private(t, key)})
		w.log.Reset()
		w.change(files)
		w.Refresh()
		w.is(key)
		require.Equal(t, 1, strings.Count(w.log.String(), "level=ERROR"), what)
		require.NotContains(t, w.log.String(), "secret")
		w.refuses(what)
	}
	w.change(map[string]string{"signing.pem": private(t, key), "next.pem": private(t, other)})
	w.is(key, other)
}

// refuses requires that a node does not start on the folder.
func (w *world) refuses(what string) {
	w.Helper()
	_, err := keyfolder.Open(keyfolder.Config{Dir: w.dir})
	require.Error(w.T, err, what)
}

// TestAMountedSecretIsExchangedAtOnce as the kubelet does it: the files are links into a folder that another link selects.
func TestAMountedSecretIsExchangedAtOnce(t *testing.T) {
	before, after := newKey(t), newKey(t)
	dir := t.TempDir()
	version := func(name string, files map[string]string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		for file, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name, file), []byte(text), 0o600))
		}
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..1.pem", map[string]string{"signing.pem": private(t, before)})
	require.NoError(t, os.Symlink(filepath.Join("..data", "signing.pem"), filepath.Join(dir, "signing.pem")))
	w := &world{T: t, dir: dir, now: time.Now()}
	w.open()
	w.is(before)
	version("..2.pem", map[string]string{"signing.pem": private(t, after), "readme.txt": "not a key"})
	w.Refresh()
	w.is(after)
}

func TestAFolderIsReadAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := newKey(t), newKey(t)
		w := newWorld(t, map[string]string{"signing.pem": private(t, before)})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.Folder.Run(ctx)
		w.hold(map[string]string{"signing.pem": private(t, before), "next.pem": public(t, after)})
		<-time.After(11 * time.Second)
		synctest.Wait()
		w.is(before, after)
		cancel()
		synctest.Wait()
	})
}
