package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

const registerPath = "/api/auth/register"

func page(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html>something is wrong</html>"))
	}
}

func cutConnection(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// redirect answers as a proxy that has its clients use another address.
func redirect(to string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
	}
}

// lostAnswers are the ways in which an answer gets lost.
var lostAnswers = func() map[string]func(w http.ResponseWriter) {
	answers := map[string]func(w http.ResponseWriter){
		"a page":           page(200),
		"half an answer":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"token":"t","userna`) },
		"a cut connection": cutConnection,
		"a redirect":       redirect("https://elsewhere.example/"),
		"another's 429":    func(w http.ResponseWriter) { reply(w, 429, map[string]string{"message": "slow down"}) },
		"our own 503":      func(w http.ResponseWriter) { refuse(w, 503, api.CodeUnavailable, "not now") },
	}
	for _, status := range []int{400, 401, 403, 404, 407, 408, 409, 500, 502, 503, 504, 511, 520, 521, 522, 523, 524} {
		answers[strconv.Itoa(status)] = page(status)
	}
	return answers
}()

func TestARegistrationWhoseAnswerIsLostIsFinishedByRegisterOrLogin(t *testing.T) {
	for name, answer := range lostAnswers {
		for _, finish := range []string{"register", "login"} {
			t.Run(name+", then "+finish, func(t *testing.T) {
				t.Parallel()
				h := newFakeServer(t)
				m := newMachine(t, h)
				h.fail(registerPath, fault{answer: answer})
				out, status := m.run("register", "Alice")
				require.Equal(t, exitFailure, status)
				require.Contains(t, out, "it is not known whether the server has done it")
				require.Contains(t, out, "sealpost register Alice")
				h.write("alice", 1, "are you there?")
				kept := m.ring("alice")
				h.heal()
				require.NotContains(t, m.mustRun(finish, "Alice"), "WARNING")
				require.Contains(t, m.mustRun("--user", "alice", "history"), "Bob: are you there?")
				require.True(t, h.isOpen(m.token("alice")))
				require.True(t, kept.Current().Private.Equal(m.ring("alice").Current().Private))
			})
		}
	}
}

// TestAnAddressThatRedirectsIsSaidToBeWrong, with the one that is right: nothing is sent there unasked.
func TestAnAddressThatRedirectsIsSaidToBeWrong(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	h.fail(registerPath, fault{lost: true, answer: redirect("https://mail.example/api/auth/register")})
	out, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "the server's address seems to be https://mail.example: use --server https://mail.example\n")
	h.fail("/api/auth/login", fault{answer: redirect("http://portal.example/login?next=here")})
	out, status = m.run("login", "Alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "something between here and the server redirects to http://portal.example")
	require.NotContains(t, out, "next=here")
}

func TestARegistrationThatNeverArrivedIsMadeByTheNext(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	h.fail(registerPath, fault{lost: true, answer: page(504)})
	_, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	kept := m.ring("alice")
	out, status := m.run("login", "alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "sealpost register Alice")
	h.heal()
	m.mustRun("register", "alice")
	public, err := envelope.EncodePublicKey(&kept.Current().Private.PublicKey)
	require.NoError(t, err)
	require.Equal(t, []string{public}, h.account("alice").keys)
	require.Equal(t, "Alice", h.account("alice").name, "as it was asked for first")
}

func TestARequestThatSomethingOnTheWayRepeatedIsNoOneElses(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	// The proxy repeats the request and returns the server's answer to the second one.
	h.fail(registerPath, fault{answer: func(w http.ResponseWriter) { refuse(w, 409, api.CodeUsernameTaken, "the username is taken") }})
	m.mustRun("register", "Alice")
	require.True(t, h.isOpen(m.token("alice")))
}

func TestOfANameThatIsSomebodyElsesNothingIsKept(t *testing.T) {
	h := newFakeServer(t)
	newMachine(t, h).mustRun("register", "Alice")
	m := newMachine(t, h)
	out, status := m.run("register", "alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "the username is taken")
	require.NoDirExists(t, filepath.Dir(m.path("alice", keyFile)))
}

func TestARefusedRegistrationLeavesNothing(t *testing.T) {
	m := newMachine(t, newFakeServer(t))
	m.password = "short"
	out, status := m.run("register", "alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "at least 8 bytes")
	require.NoDirExists(t, filepath.Dir(m.path("alice", keyFile)))

	m.server = "http://127.0.0.1:1"
	out, status = m.run("register", "alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "cannot be reached")
	require.NoDirExists(t, filepath.Dir(m.path("alice", keyFile)))
}

// TestWhatWasThereBeforeAFailedRegistrationStays, whatever the failure: this machine was logged in without keys.
func TestWhatWasThereBeforeAFailedRegistrationStays(t *testing.T) {
	answers := map[string]fault{"taken": {}, "not known": {answer: page(502)}}
	for name, f := range answers {
		t.Run(name, func(t *testing.T) {
			h := newFakeServer(t)
			newMachine(t, h).mustRun("register", "Alice")
			m := newMachine(t, h)
			m.mustRun("login", "Alice")
			session := m.token("alice")
			pins := client.FilePins{Path: m.path("alice", pinFile)}
			require.NoError(t, pins.Pin("bob", "f"))
			h.fail(registerPath, f)
			_, status := m.run("register", "alice")
			require.Equal(t, exitFailure, status)
			require.Equal(t, session, m.token("alice"))
			text, err := os.ReadFile(pins.Path)
			require.NoError(t, err)
			require.JSONEq(t, `{"bob":"f"}`, string(text))
			require.Equal(t, f.answer != nil, exists(m.path("alice", keyFile)), "keys are kept if they may be somebody's")
		})
	}
}

func TestKeysOfAnEarlierRunStayThoughTheNameIsTakenMeanwhile(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	h.fail(registerPath, fault{lost: true, answer: page(502)})
	_, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	kept := m.ring("alice")
	h.heal()
	newMachine(t, h).mustRun("register", "Alice")
	out, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "the username is taken")
	require.Contains(t, out, "left as they were")
	require.True(t, kept.Current().Private.Equal(m.ring("alice").Current().Private))
}

func TestASlipOfThePasswordCostsNoKeys(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	h.fail(registerPath, fault{answer: page(502)})
	_, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	h.heal()
	m.password = "incorrect horse"
	out, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "wrong passphrase")

	passphrase := filepath.Join(t.TempDir(), "passphrase")
	require.NoError(t, os.WriteFile(passphrase, []byte(goodPassword), 0o600))
	out, status = m.run("--passphrase-file", passphrase, "register", "Alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "there is an account with this key already")
	m.password = goodPassword
	m.mustRun("register", "Alice")
}

func TestTwoRegistrationsSideBySideMakeOneKey(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	var both sync.WaitGroup
	var statuses [2]int
	for i := range statuses {
		both.Go(func() { _, statuses[i] = m.run("register", "Alice") })
	}
	both.Wait()
	require.ElementsMatch(t, []int{0, exitFailure}, statuses[:])
	h.write("alice", 1, "hello")
	require.Contains(t, m.mustRun("history"), "Bob: hello")
}

func TestAProfileThatIsLoggedInIsNotRegisteredAgain(t *testing.T) {
	m := newMachine(t, newFakeServer(t))
	m.mustRun("register", "Alice")
	out, status := m.run("register", "alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "there are keys of alice on this machine already")
	m.mustRun("logout")
	m.mustRun("register", "alice") // equivalent to a login
	text, err := os.ReadFile(m.path("alice", profileFile))
	require.NoError(t, err)
	var p profile
	require.NoError(t, json.Unmarshal(text, &p))
	require.Equal(t, "Alice", p.Username)
}

// TestALoginSaysSoIfTheKeysHereAreNotTheAccounts: they are left over from a failed registration of a taken name.
func TestALoginSaysSoIfTheKeysHereAreNotTheAccounts(t *testing.T) {
	h := newFakeServer(t)
	newMachine(t, h).mustRun("register", "Alice")
	m := newMachine(t, h)
	h.fail(registerPath, fault{lost: true, answer: page(502)})
	_, status := m.run("register", "Alice")
	require.Equal(t, exitFailure, status)
	require.Contains(t, m.mustRun("login", "Alice"), "WARNING: the keys in")
}
