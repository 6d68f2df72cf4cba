package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/services/standalone/app"
)

func configuration(t *testing.T, dataDir string) (cfg app.Config) {
	t.Helper()
	require.NoError(t, config.Load(&cfg, []string{"DATA_DIR=" + dataDir}))
	return cfg
}

// acknowledgements are the contents of the sends acknowledged so far.
func (r *recorder) acknowledgements() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var contents []string
	for _, a := range r.attempts {
		if a.Acknowledged {
			contents = append(contents, a.Content)
		}
	}
	return contents
}

// login opens a session and keeps its token.
func (c *client) login(t *testing.T, name string) {
	t.Helper()
	var session api.SessionResponse
	require.Equal(t, http.StatusOK, c.call(t.Context(), http.MethodPost, "/api/auth/login", api.LoginRequest{Username: name, Password: "correct horse"}, &session))
	c.token = session.Token
}

// TestABackupUnderLoadHoldsWhatWasAcknowledgedBefore. After its restore nobody waits at a position that is gone, or can use a token
// that was revoked since.
func TestABackupUnderLoadHoldsWhatWasAcknowledgedBefore(t *testing.T) {
	t.Parallel()
	dir, copied, anew := t.TempDir(), filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "anew")
	server := start(t, dir, 0)
	ann := newClient(t, server.url)
	ann.register(t, "Ann")
	var key, keyAgain map[string]any
	require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodGet, "/api/keys/server-public", nil, &key))
	r, stopSending := &recorder{}, make(chan struct{})
	var sending sync.WaitGroup
	for i := range 3 {
		sending.Go(func() { r.send(ann, "Ann", i, []string{"Ann"}, stopSending) })
	}
	r.waitFor(t, 60)
	before := r.acknowledgements()
	require.NoError(t, app.Backup(t.Context(), configuration(t, dir), copied))
	r.waitFor(t, 60)
	close(stopSending)
	sending.Wait()
	var last api.PollResponse
	require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodGet, "/api/messages/poll?wait=0&after=latest", nil, &last))
	require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodPost, "/api/auth/logout", nil, nil))
	require.NoError(t, server.stop())

	epoch, err := app.Restore(t.Context(), configuration(t, anew), copied)
	require.NoError(t, err)
	server = start(t, anew, 0)
	ann.url = server.url
	require.Equal(t, http.StatusUnauthorized, ann.call(t.Context(), http.MethodGet, "/api/auth/profile", nil, nil), "the token was logged out")
	ann.login(t, "ANN")
	require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodGet, "/api/keys/server-public", nil, &keyAgain))
	require.Equal(t, key, keyAgain)
	var p api.PollResponse
	require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodGet, "/api/messages/poll?wait=10&after="+last.Cursor, nil, &p))
	require.Equal(t, api.PollResponse{Type: api.PollReset, Cursor: epoch + ".0"}, p)
	found := map[string]int{}
	for p.Type = api.PollMessages; p.Type == api.PollMessages; {
		after := p.Cursor
		p = api.PollResponse{}
		require.Equal(t, http.StatusOK, ann.call(t.Context(), http.MethodGet, "/api/messages/poll?wait=0&limit=100&after="+after, nil, &p))
		for _, m := range p.Messages {
			found[m.EncryptedContent]++
		}
	}
	for _, content := range before {
		require.Equal(t, 1, found[content], content)
	}
	require.NoError(t, server.stop())
}

func TestARestoreReplacesNothing(t *testing.T) {
	t.Parallel()
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	server := start(t, dir, 0)
	cfg := configuration(t, dir)
	require.NoError(t, app.Backup(t.Context(), cfg, copied))
	require.ErrorIs(t, app.Backup(t.Context(), cfg, copied), os.ErrExist)
	_, err := app.Restore(t.Context(), cfg, copied)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, server.stop())
	_, err = app.Restore(t.Context(), cfg, copied)
	require.ErrorContains(t, err, "empty folder")
	anew, nothing := filepath.Join(t.TempDir(), "anew"), filepath.Join(t.TempDir(), "nothing")
	require.Error(t, app.Backup(t.Context(), configuration(t, t.TempDir()), nothing), "there is no database")
	require.NoDirExists(t, nothing)
	_, err = app.Restore(t.Context(), configuration(t, anew), t.TempDir())
	require.Error(t, err, "there is no copy")
	require.NoDirExists(t, filepath.Join(anew, "store"))
	_, err = app.Restore(t.Context(), configuration(t, anew), copied)
	require.NoError(t, err)
}
