package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/client/envelope"
)

const (
	logoutPath = "/api/auth/logout"
	rotatePath = "/api/users/update-key"
)

func TestALogoutWhoseAnswerIsLostIsFinishedByTheNext(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	m.mustRun("register", "Alice")
	session := m.token("alice")
	h.fail(logoutPath, fault{answer: page(500)})
	out, status := m.run("logout")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "may be open still")
	require.Equal(t, session, m.token("alice"), "without it the session could not be ended")
	h.heal()
	m.mustRun("logout")
	require.Empty(t, m.token("alice"))
}

func TestASessionThatHasEndedIsNoProofThatAllHave(t *testing.T) {
	h := newFakeServer(t)
	m, other := newMachine(t, h), newMachine(t, h)
	m.mustRun("register", "Alice")
	other.mustRun("login", "Alice")
	h.mu.Lock()
	h.sessions[m.token("alice")] = nil
	h.mu.Unlock()
	out, status := m.run("logout", "--all")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "others may be open still")
	require.True(t, h.isOpen(other.token("alice")))
	m.mustRun("logout")
}

// TestALoginDuringALogoutKeepsItsSession: the logout must forget only the session that it ended.
func TestALoginDuringALogoutKeepsItsSession(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	m.mustRun("register", "Alice")
	var o output
	var login sync.WaitGroup
	var status int
	h.on(logoutPath, func() {
		done := make(chan struct{})
		login.Go(func() {
			defer close(done)
			status = m.runInto(t.Context(), &o, "login")
		})
		for !strings.Contains(o.String(), "waiting for another command") {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	m.mustRun("logout")
	login.Wait()
	require.Zero(t, status, o.String())
	require.True(t, h.isOpen(m.token("alice")))
}

func TestAFailedLoginKeepsTheSession(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	m.mustRun("register", "Alice")
	session, kept := m.token("alice"), m.ring("alice")
	for name, answer := range lostAnswers {
		h.fail("/api/auth/login", fault{answer: answer})
		_, status := m.run("login")
		require.Equal(t, exitFailure, status, name)
		require.Equal(t, session, m.token("alice"), name)
	}
	h.heal()
	m.mustRun("login")
	require.NotEqual(t, session, m.token("alice"))
	require.True(t, kept.Current().Private.Equal(m.ring("alice").Current().Private))
}

func TestNoKeyIsLostWhereTwoRotateSideBySide(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	m.mustRun("register", "Alice")
	const rotations = 3
	var all sync.WaitGroup
	for range rotations {
		all.Go(func() { m.mustRun("keys", "rotate") })
	}
	all.Wait()
	require.Len(t, h.account("alice").keys, 1+rotations)
	texts := []string{"one", "two", "three", "four"}
	for i, text := range texts {
		h.write("alice", i+1, text)
	}
	history := m.mustRun("history")
	for _, text := range texts {
		require.Contains(t, history, "Bob: "+text)
	}
}

func TestARotationWhoseAnswerIsLostIsFinishedByTheNext(t *testing.T) {
	for name, answer := range lostAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeServer(t)
			m, bob := newMachine(t, h), newMachine(t, h)
			m.mustRun("register", "Alice")
			bob.mustRun("register", "Bob")
			h.write("alice", 1, "before")
			h.fail(rotatePath, fault{answer: answer})
			out, status := m.run("keys", "rotate")
			require.Equal(t, exitFailure, status)
			require.Contains(t, out, "it is not known whether the server has done it")
			h.write("alice", 2, "after")
			h.heal()
			history := m.mustRun("history")
			require.Contains(t, history, "Bob: before")
			require.Contains(t, history, "Bob: after")
			require.Equal(t, number(t, bob.mustRun("keys", "verify", "alice")), number(t, m.mustRun("keys", "verify", "bob")),
				"both see the key that the server gives out")
			out = m.mustRun("keys", "rotate")
			require.Contains(t, out, "Your key is now version 2")
			require.Len(t, h.account("alice").keys, 2)
			public, err := envelope.EncodePublicKey(&m.ring("alice").Current().Private.PublicKey)
			require.NoError(t, err)
			require.Equal(t, h.account("alice").keys[1], public)
		})
	}
}

// number is the safety number that a command has printed.
func number(t *testing.T, out string) string {
	for line := range strings.Lines(out) {
		if digits := strings.TrimSpace(line); len(digits) == 71 && digits[0] >= '0' && digits[0] <= '9' {
			return digits
		}
	}
	t.Fatalf("no safety number in %s", out)
	return ""
}

func TestACommandThatIsInterruptedHasNotSucceeded(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	m.mustRun("register", "Alice")
	ctx, cancel := context.WithCancel(t.Context())
	h.fail("/api/keys/user/Bob", fault{answer: func(http.ResponseWriter) {
		cancel()
		panic(http.ErrAbortHandler)
	}})
	var o output
	require.Equal(t, exitFailure, m.runInto(ctx, &o, "send", "Bob", "-m", "hello"))
	require.Contains(t, o.String(), "interrupted")
}
