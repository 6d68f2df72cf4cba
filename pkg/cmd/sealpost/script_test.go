package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// command is the program that scripts run as sealpost: the real command line, but with small keys.
func command() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	a := &app{terminal: terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}, keyBits: 2048, workFactor: 10, patience: time.Millisecond}
	status := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// TestScripts runs testdata/script: every command, its errors and the files it leaves. Each script has its own server, at
// $SEALPOST_SERVER; $PLACE is the server's folder in a home. Besides the commands of testscript there are:
//
//	exits STATUS sealpost ARGS...  runs it and requires an exit status
//	mode PERMISSIONS FILE          requires a file's permissions
//	number FILE VARIABLE           keeps the safety number in an output of `keys verify`
//	same-number FILE FILE          requires two outputs of `keys verify` to show the same safety number
//	server loses PATH              the server handles requests to a path, but their answers are lost, until `server heals`
//	server newkey USER             USER rotates its key on another machine
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			h := newMessageServer(t)
			u, err := url.Parse(h.url)
			if err != nil {
				return err
			}
			env.Values["fakeServer"] = h
			env.Setenv("SEALPOST_SERVER", h.url)
			env.Setenv("SEALPOST_HOME", env.WorkDir+"/home")
			env.Setenv("SEALPOST_PASSWORD", goodPassword)
			env.Setenv("PLACE", strings.ReplaceAll(u.Host, ":", "_"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "mode": mode, "number": keepNumber, "same-number": sameNumber, "server": tellServer,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	status := 0
	var failed *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &failed) {
		status = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if status != want {
		ts.Fatalf("exit status %d, not %d", status, want)
	}
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode PERMISSIONS FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has permissions %s", args[1], got)
	}
}

func sameNumber(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same-number FILE FILE")
	}
	if one, other := numberIn(ts, args[0]), numberIn(ts, args[1]); one != other {
		ts.Fatalf("the safety numbers differ: %s and %s", one, other)
	}
}

func keepNumber(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: number FILE VARIABLE")
	}
	ts.Setenv(args[1], numberIn(ts, args[0]))
}

func numberIn(ts *testscript.TestScript, file string) string {
	for line := range strings.Lines(ts.ReadFile(file)) {
		if strings.HasPrefix(line, "  ") {
			return strings.TrimSpace(line)
		}
	}
	ts.Fatalf("%s shows no safety number", file)
	return ""
}

func tellServer(ts *testscript.TestScript, neg bool, args []string) {
	h := ts.Value("fakeServer").(*messageServer)
	switch {
	case !neg && len(args) == 2 && args[0] == "loses":
		h.fail(args[1], fault{answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) }})
	case !neg && len(args) == 1 && args[0] == "heals":
		h.heal()
	case !neg && len(args) == 2 && args[0] == "newkey":
		private, err := envelope.GenerateKey(2048)
		ts.Check(err)
		public, err := envelope.EncodePublicKey(&private.PublicKey)
		ts.Check(err)
		who := h.account(args[1])
		h.mu.Lock()
		defer h.mu.Unlock()
		who.keys = append(who.keys, public)
	default:
		ts.Fatalf("usage: server loses PATH | heals | newkey USER")
	}
}

// messageServer is a fakeServer that takes and delivers messages as well.
type messageServer struct {
	*fakeServer
	// sent holds the ids of messages, by the ids that their senders gave them.
	sent map[string]string
}

func newMessageServer(t *testing.T) *messageServer {
	started, mux := startServer(t)
	h := &messageServer{started, map[string]string{}}
	mux.HandleFunc("POST /api/messages/send", h.send)
	mux.HandleFunc("GET /api/messages/poll", h.poll)
	mux.HandleFunc("GET /api/messages/history", h.history)
	mux.HandleFunc("POST /api/messages/{id}/read", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, api.MessageResponse{Message: "read"}) })
	return h
}

func (h *messageServer) send(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := h.caller(w, r)
	if who == nil {
		return
	}
	q := read[api.SendRequest](r)
	if id := h.sent[q.ClientMessageID]; id != "" {
		reply(w, 200, api.SendResponse{Message: "sent", MessageID: id, Duplicate: true})
		return
	}
	m := api.Message{
		MessageID: fmt.Sprintf("m%d-%d", len(h.sessions), len(who.inbox)), Sender: who.name, EncryptedContent: q.EncryptedContent, IV: q.IV,
		ClientMessageID: q.ClientMessageID, Timestamp: api.At(time.Now()),
	}
	for name := range q.RecipientKeys {
		m.Recipients = append(m.Recipients, name)
	}
	slices.Sort(m.Recipients)
	for name, key := range q.RecipientKeys {
		to := h.members[strings.ToLower(name)]
		if to == nil {
			refuse(w, 404, api.CodeUnknownRecipients, "there is no such user")
			return
		}
		m.RecipientKeys, m.Seq, m.IsUnread = map[string]string{name: key}, int64(len(to.inbox)+1), to != who
		to.inbox = append(to.inbox, m)
	}
	h.sent[q.ClientMessageID] = m.MessageID
	reply(w, 201, api.SendResponse{Message: "sent", MessageID: m.MessageID, Timestamp: m.Timestamp})
}

// poll answers with what is there, if need be after a moment.
func (h *messageServer) poll(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(strings.TrimPrefix(r.FormValue("after"), "h."))
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end) && h.waiting(r, after); {
		<-time.After(5 * time.Millisecond)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if who := h.caller(w, r); who != nil {
		answer := api.PollResponse{Type: api.PollTimeout, Messages: who.inbox[after:], Cursor: fmt.Sprint("h.", len(who.inbox))}
		if len(answer.Messages) > 0 {
			answer.Type = api.PollMessages
		}
		reply(w, 200, answer)
	}
}

// waiting reports whether a poll's caller has nothing to receive yet.
func (h *messageServer) waiting(r *http.Request, after int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := h.session(r)
	return who != nil && len(who.inbox) <= after && r.Context().Err() == nil
}

func (h *messageServer) history(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if who := h.caller(w, r); who != nil {
		newest := slices.Clone(who.inbox)
		slices.Reverse(newest)
		reply(w, 200, api.HistoryResponse{Messages: append([]api.Message{}, newest...)})
	}
}
