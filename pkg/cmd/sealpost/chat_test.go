package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

const (
	pollPath = "/api/messages/poll"
	sendPath = "/api/messages/send"
)

// liveChat is a running `sealpost chat` of Alice with Bob.
type liveChat struct {
	t      *testing.T
	in     *io.PipeWriter
	out    output
	status chan int
}

func (m *machine) chat(args ...string) *liveChat {
	file := filepath.Join(m.t.TempDir(), "password")
	require.NoError(m.t, os.WriteFile(file, []byte(m.password), 0o600))
	in, typed := io.Pipe()
	c := &liveChat{t: m.t, in: typed, status: make(chan int, 1)}
	a := &app{terminal: terminal{in: in, out: &c.out, err: &c.out}, keyBits: 2048, workFactor: 10, patience: time.Millisecond}
	ctx, cancel := context.WithCancel(m.t.Context())
	m.t.Cleanup(func() {
		cancel()
		_ = typed.Close()
	})
	go func() {
		c.status <- a.run(ctx, append([]string{"--home", m.home, "--server", m.server, "--password-file", file, "--user", "alice", "chat", "bob"}, args...))
	}()
	return c
}

func (c *liveChat) say(text string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in, text)
	require.NoError(c.t, err)
}

// waitFor waits until a text was shown so many times.
func (c *liveChat) waitFor(text string, times int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Count(c.out.String(), text) >= times }, time.Minute, 5*time.Millisecond,
		"%q did not come", text)
}

// ends waits for the end of the chat and returns its exit status.
func (c *liveChat) ends() int {
	c.t.Helper()
	select {
	case status := <-c.status:
		return status
	case <-time.After(time.Minute):
		c.t.Fatal("the chat goes on: ", c.out.String())
		return 0
	}
}

// inTheWay are answers of what is between a chat and its server, by what the chat says of them.
var inTheWay = func() map[string]func(http.ResponseWriter) {
	const who = "something between here and the server "
	answers := map[string]func(http.ResponseWriter){
		"connection lost":         cutConnection,
		"the server answered: no": func(w http.ResponseWriter) { refuse(w, 500, api.CodeInternal, "no") },
		who + "redirects to http://portal.example (status 301)":                          redirect("http://portal.example/login"),
		who + "answered with status 200 and a text that is not the server's (text/html)": page(200),
	}
	for _, status := range []int{403, 404, 408, 500, 502, 503, 511, 520, 524} {
		answers[fmt.Sprint(who, "answered with status ", status)] = page(status)
	}
	return answers
}()

func told(text string) string { return "(" + text + ", trying again …)" }

func newChatters(t *testing.T) (*messageServer, *machine) {
	h := newMessageServer(t)
	m := newMachine(t, h.fakeServer)
	m.mustRun("register", "Alice")
	m.mustRun("register", "Bob")
	return h, m
}

func TestAChatOutlivesWhateverAnswersInPlaceOfTheServer(t *testing.T) {
	h, m := newChatters(t)
	c := m.chat()
	c.waitFor("Talking to Bob", 1)
	m.mustRun("--user", "bob", "send", "alice", "-m", "at first")
	c.waitFor("Bob: at first", 1)
	n := 0
	for text, answer := range inTheWay {
		n++
		h.fail(pollPath, fault{lost: true, answer: answer})
		c.waitFor(told(text), 1)
		h.heal()
		c.waitFor("(connected again)", n)
		m.mustRun("--user", "bob", "send", "alice", "-m", fmt.Sprint("message ", n))
		c.waitFor(fmt.Sprint("Bob: message ", n), 1)
	}
	require.NoError(t, c.in.Close())
	require.Zero(t, c.ends(), c.out.String())
}

func TestWhatIsSeenOfAnOutageIsSaidOnce(t *testing.T) {
	h, m := newChatters(t)
	c := m.chat()
	c.waitFor("Talking to Bob", 1)
	statuses := make(chan int, 4)
	for _, status := range []int{502, 404, 502, 404} {
		statuses <- status
	}
	h.fail(pollPath, fault{lost: true, answer: func(w http.ResponseWriter) {
		select {
		case status := <-statuses:
			page(status)(w)
		default:
			h.heal()
			page(502)(w)
		}
	}})
	c.waitFor("(connected again)", 1)
	for _, status := range []int{502, 404} {
		said := fmt.Sprintf("(something between here and the server answered with status %d, trying again …)", status)
		require.Equal(t, 1, strings.Count(c.out.String(), said), c.out.String())
	}
}

func TestWhatIsTypedMeanwhileIsSentOnceAndInOrder(t *testing.T) {
	h, m := newChatters(t)
	c := m.chat()
	c.waitFor("Talking to Bob", 1)
	var want []string
	n := 0
	for text, answer := range inTheWay {
		n++
		// The server gets what is sent, and something answers in its place.
		h.fail(sendPath, fault{answer: answer})
		for i := range 2 {
			line := fmt.Sprint("line ", n, ".", i)
			c.say(line)
			want = append(want, line)
		}
		c.waitFor(told(text), 1)
		h.heal()
		c.waitFor("(connected again)", n)
	}
	require.NoError(t, c.in.Close())
	require.Zero(t, c.ends(), c.out.String())
	var got []string
	for line := range strings.Lines(m.mustRun("--user", "bob", "history", "-n", "100")) {
		_, said, _ := strings.Cut(strings.TrimSpace(line), "Alice: ")
		got = append(got, said)
	}
	require.Equal(t, want, got)
}

func TestAChatBeginsThroughWhateverAnswersInPlaceOfTheServer(t *testing.T) {
	h, m := newChatters(t)
	for _, path := range []string{"/api/keys/user/bob", "/api/messages/history"} {
		for _, status := range []int{200, 403, 404, 408, 500, 502, 520} {
			h.fail(path, fault{answer: page(status)})
			c := m.chat()
			c.waitFor(fmt.Sprint("(something between here and the server answered with status ", status), 1)
			h.heal()
			c.waitFor("(connected again)", 1)
			c.waitFor("Talking to Bob", 1)
			require.NoError(t, c.in.Close())
			require.Zero(t, c.ends(), c.out.String())
		}
	}
}

func TestAReceiptThatCannotBeGivenHoldsUpNoMessage(t *testing.T) {
	h, m := newChatters(t)
	m.mustRun("--user", "bob", "send", "alice", "-m", "one")
	m.mustRun("--user", "bob", "send", "alice", "-m", "two")
	for _, message := range h.account("alice").inbox {
		h.fail("/api/messages/"+message.MessageID+"/read", fault{lost: true, answer: page(403)})
	}
	c := m.chat()
	c.waitFor("Talking to Bob", 1)
	m.mustRun("--user", "bob", "send", "alice", "-m", "three")
	c.waitFor("Bob: three", 1)
}

// TestAChatShowsWhatWaitedForItInOrder: it began with the last ten, and the ones before came after them.
func TestAChatShowsWhatWaitedForItInOrder(t *testing.T) {
	h, m := newChatters(t)
	const waiting = shownAtStart + 5
	for i := range waiting {
		m.mustRun("--user", "bob", "send", "alice", "-m", fmt.Sprintf("number %02d.", i))
	}
	inbox := h.account("alice").inbox
	last := inbox[len(inbox)-1].Seq
	for _, from := range []int{0, waiting - shownAtStart} { // all that is new, and then the end of what is known
		c := m.chat()
		c.waitFor(fmt.Sprintf("number %02d.", waiting-1), 1)
		// A chat that ends before it has received them does not know them.
		require.Eventually(t, func() bool {
			at, err := client.FileCursor{Path: m.path("alice", cursorFile)}.Load()
			return err == nil && at.Position >= last
		}, time.Minute, 5*time.Millisecond)
		require.NoError(t, c.in.Close())
		require.Zero(t, c.ends(), c.out.String())
		text, at := c.out.String(), 0
		for i := range waiting {
			number := fmt.Sprintf("number %02d.", i)
			if i < from {
				require.NotContains(t, text, number)
				continue
			}
			require.Equal(t, 1, strings.Count(text, number), text)
			found := strings.Index(text, number)
			require.GreaterOrEqual(t, found, at, "%s comes before the one before it:\n%s", number, text)
			at = found
		}
	}
}

func TestASessionThatHasEndedEndsTheChat(t *testing.T) {
	h, m := newChatters(t)
	c := m.chat()
	c.waitFor("Talking to Bob", 1)
	h.mu.Lock()
	h.sessions[m.token("alice")] = nil
	h.mu.Unlock()
	require.Equal(t, exitFailure, c.ends())
	require.Contains(t, c.out.String(), "the session has ended")
}
