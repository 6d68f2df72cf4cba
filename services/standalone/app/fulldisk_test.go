package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/logging/logtest"
)

const (
	secret   = "correct horse"
	patience = time.Minute
)

// node is a server whose store has a disk of its own.
type node struct {
	*App
	logged *logtest.Journal
	// ended receives what run returned.
	ended chan error
}

func serve(t *testing.T, disk vfs.FS) *node {
	t.Helper()
	var cfg Config
	require.NoError(t, config.Load(&cfg, []string{
		"DATA_DIR=" + t.TempDir(), "HOST=127.0.0.1", "PORT=0", "ADMIN_ADDRESS=127.0.0.1:0", "RATE_LIMIT=off", "ARGON2_MEMORY=8KiB", "ARGON2_TIME=1",
	}))
	n := &node{logged: &logtest.Journal{}, ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var err error
	n.App, err = newOn(ctx, cfg, slog.New(slog.NewTextHandler(n.logged, nil)), disk)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.ended <- n.run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return n
}

// answer is an HTTP answer, with its body.
type answer struct {
	status     int
	retryAfter string
	body       []byte
}

func (a answer) code(t *testing.T) api.Code {
	t.Helper()
	var e struct {
		Code api.Code `json:"code"`
	}
	require.NoError(t, json.Unmarshal(a.body, &e), "%s", a.body)
	return e.Code
}

// call sends a request; a status of 0 means that there was no answer.
func call(t *testing.T, method, url, token string, body any) answer {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(text))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{}
	}
	text, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return answer{response.StatusCode, response.Header.Get("Retry-After"), text}
}

func (n *node) register(t *testing.T, name string) (token string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	a := call(t, http.MethodPost, n.URL()+"/api/auth/register", "", api.RegisterRequest{
		Username: name, Password: secret, PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	var session api.SessionResponse
	require.NoError(t, json.Unmarshal(a.body, &session))
	return session.Token
}

func (n *node) send(t *testing.T, token, to string) answer {
	t.Helper()
	return call(t, http.MethodPost, n.URL()+"/api/messages/send", token, map[string]any{
		"encryptedContent": "x", "iv": "x", "recipientKeys": map[string]string{to: "x"},
	})
}

func (n *node) login(t *testing.T, name string) answer {
	t.Helper()
	return call(t, http.MethodPost, n.URL()+"/api/auth/login", "", api.LoginRequest{Username: name, Password: secret})
}

func messageID(t *testing.T, a answer) string {
	t.Helper()
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	var sent struct {
		MessageID string `json:"messageId"`
	}
	require.NoError(t, json.Unmarshal(a.body, &sent))
	return sent.MessageID
}

// received polls until n messages are there, and returns their ids.
func (n *node) received(t *testing.T, token string, count int) (ids []string) {
	t.Helper()
	cursor := "0"
	for end := time.Now().Add(patience); len(ids) < count; {
		require.True(t, time.Now().Before(end), "%d of %d messages", len(ids), count)
		a := call(t, http.MethodGet, n.URL()+"/api/messages/poll?wait=5&after="+cursor, token, nil)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		var page struct {
			Cursor   string
			Messages []struct{ MessageID string }
		}
		require.NoError(t, json.Unmarshal(a.body, &page))
		for _, m := range page.Messages {
			ids = append(ids, m.MessageID)
		}
		cursor = page.Cursor
	}
	return ids
}

func (n *node) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := n.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric " + name)
	return 0
}

// TestAFullDiskRefusesWritesAndNothingElse: the server stays ready (see deploy/decisions/readiness.md), tells the operator once, and goes on
// by itself when there is room.
func TestAFullDiskRefusesWritesAndNothingElse(t *testing.T) {
	disk := vfs.NewMem()
	n := serve(t, disk)
	alice, bob := n.register(t, "alice"), n.register(t, "bob")
	sent := []string{messageID(t, n.send(t, alice, "bob"))}

	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 40})
	refused := n.send(t, alice, "bob")
	for end := time.Now().Add(patience); refused.status == http.StatusCreated; refused = n.send(t, alice, "bob") {
		sent = append(sent, messageID(t, refused))
		require.True(t, time.Now().Before(end), "sends go on")
	}
	for range 20 {
		for what, a := range map[string]answer{"send": n.send(t, alice, "bob"), "login": n.login(t, "alice")} {
			require.Equal(t, http.StatusServiceUnavailable, a.status, what)
			require.Equal(t, api.CodeUnavailable, a.code(t), what)
			require.NotEmpty(t, a.retryAfter, what)
		}
	}
	require.Equal(t, sent, n.received(t, bob, len(sent)), "polls go on")
	for _, path := range []string{"/api/auth/profile", "/api/messages/history", "/api/messages/poll", "/api/messages/poll?after=latest&wait=0"} {
		require.Equal(t, http.StatusOK, call(t, http.MethodGet, n.URL()+path, bob, nil).status, path)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		require.Equal(t, http.StatusOK, call(t, http.MethodGet, n.AdminURL()+path, "", nil).status, path)
	}
	require.Less(t, n.metric(t, "sealpost_store_disk_free_bytes"), n.metric(t, "sealpost_store_disk_min_free_bytes"))
	require.Equal(t, 1, n.logged.Count("the disk is nearly full: no writes"))

	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40})
	require.Eventually(t, func() bool { return n.login(t, "alice").status == http.StatusOK }, patience, 10*time.Millisecond)
	sent = append(sent, messageID(t, n.send(t, alice, "bob")))
	require.Equal(t, sent, n.received(t, bob, len(sent)))
	require.Equal(t, 1, n.logged.Count("the disk has room again"))
}

// TestAServerWhoseLogFindsNoRoomEndsAndSaysWhy: the next one recovers what was acknowledged, which pkg/store/pebble/faults tests.
func TestAServerWhoseLogFindsNoRoomEndsAndSaysWhy(t *testing.T) {
	var full atomic.Bool
	n := serve(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && filepath.Ext(op.Path) == ".log" && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		return nil
	})))
	alice := n.register(t, "alice")
	n.register(t, "bob")
	messageID(t, n.send(t, alice, "bob"))
	full.Store(true)
	if a := n.send(t, alice, "bob"); a.status != 0 { // the server may have ended before the answer
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.NotEmpty(t, a.retryAfter)
	}
	select {
	case err := <-n.ended:
		require.ErrorIs(t, err, syscall.ENOSPC)
	case <-time.After(patience):
		t.Fatal(fmt.Sprint("the server goes on: ", n.logged))
	}
	require.Equal(t, 1, n.logged.Count("the store has failed and cannot go on"))
}
