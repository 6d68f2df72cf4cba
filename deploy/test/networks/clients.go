package networks

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Client is a program that reads an inbox, or sends.
type Client struct {
	Name string
	// AtLeastOnce: it keeps no cursor, and may be given a message again.
	AtLeastOnce bool
	// Sends: it does not read, but sends, and reports what is acknowledged.
	Sends bool
	// Short clients are in the small part of the table.
	Short bool
	// Needs are the programs that it is made of.
	Needs []string
	// Sealed: it is sent messages that it has to open.
	Sealed bool
	// CommandLine: its account is made with the command line.
	CommandLine bool
	// command is the program, its arguments, and its environment.
	command func(l *Lab, t Target) (program string, args, environ []string)
	// report finds a report in a line that the program prints.
	report func(line string) (r Report, found bool)
}

// Target is what a client is told.
type Target struct {
	URL  string
	Self account
	// Peer is whom a sender sends to.
	Peer string
	// Wait is how long polls ask to wait.
	Wait time.Duration
}

// Clients are the columns of the table.
//
// A browser's EventSource, and so Chromium's own, cannot send a token, and the server takes one from the Authorization header alone: not
// from the address, where proxies would log it, nor from a cookie, which would make it a target of other sites. So what pages use in
// Chromium is fetch, as here: polls, a stream read with fetch, and the package eventsource, which is an EventSource made of fetch.
func Clients() []Client {
	return []Client{
		{Name: "sdk", Sealed: true, Short: true, command: helper(helpSDK), report: report},
		{Name: "sdk sends", Sends: true, Short: true, command: helper(helpSend), report: report},
		{Name: "sealpost chat", Sealed: true, CommandLine: true, command: chat, report: chatLine},
		{Name: "curl", Needs: []string{Curl}, command: helper(helpCurlPoll), report: report},
		{Name: "curl legacy", AtLeastOnce: true, Short: true, Needs: []string{Curl}, command: helper(helpCurlLegacy), report: report},
		{Name: "curl stream", Needs: []string{Curl}, command: helper(helpCurlStream), report: report},
		{Name: "undici", Short: true, Needs: []string{nodePackages}, command: script("undici.mjs", "poll"), report: report},
		{Name: "undici stream", Needs: []string{nodePackages}, command: script("undici.mjs", "stream"), report: report},
		{Name: "axios", Needs: []string{nodePackages}, command: script("axios.mjs"), report: report},
		{Name: "eventsource@2", Needs: []string{nodePackages}, command: script("eventsource2.mjs"), report: report},
		{Name: "eventsource@4", Short: true, Needs: []string{nodePackages}, command: script("eventsource4.mjs"), report: report},
		{Name: "chromium fetch", Needs: []string{nodePackages, Chromium}, command: script("chromium.mjs", "poll"), report: report},
		{Name: "chromium stream", Needs: []string{nodePackages, Chromium}, command: script("chromium.mjs", "stream"), report: report},
		{Name: "chromium eventsource", Needs: []string{nodePackages, Chromium}, command: script("chromium.mjs", "eventsource"), report: report},
	}
}

// The environment variables that tell a program of the lab what to do.
const (
	urlEnv   = "LAB_URL"
	tokenEnv = "LAB_TOKEN"
	selfEnv  = "LAB_SELF"
	peerEnv  = "LAB_PEER"
	homeEnv  = "LAB_HOME"
	// waitEnv is in seconds.
	waitEnv     = "LAB_WAIT"
	curlEnv     = "LAB_CURL"
	chromiumEnv = "LAB_CHROMIUM"
)

func (l *Lab) environ(t Target) []string {
	return []string{
		urlEnv + "=" + t.URL, tokenEnv + "=" + t.Self.token, selfEnv + "=" + t.Self.name, peerEnv + "=" + t.Peer, homeEnv + "=" + t.Self.home,
		fmt.Sprintf("%s=%d", waitEnv, int(t.Wait.Seconds())), curlEnv + "=" + l.Tools.Paths[Curl], chromiumEnv + "=" + l.Tools.Paths[Chromium],
	}
}

// helper runs this test program as another one: see Help.
func helper(mode string) func(*Lab, Target) (string, []string, []string) {
	return func(l *Lab, t Target) (string, []string, []string) {
		program, err := os.Executable()
		if err != nil {
			program = os.Args[0]
		}
		return program, nil, append(l.environ(t), HelpEnv+"="+mode)
	}
}

// script runs a script on Node.
func script(name string, args ...string) func(*Lab, Target) (string, []string, []string) {
	return func(l *Lab, t Target) (string, []string, []string) {
		return l.Tools.Paths[Node], append([]string{filepath.Join(l.Tools.NodeFolder, name)}, args...), l.environ(t)
	}
}

// chat runs the command line. It reads until its input ends, and then waits.
func chat(l *Lab, t Target) (string, []string, []string) {
	return l.Tools.CommandLine, []string{"chat", "Sender", "--wait", "24h"}, commandLineEnv(t.Self.home, t.URL)
}

// chatLine finds the text in a line such as "15:04  Sender: text".
func chatLine(line string) (Report, bool) {
	_, text, found := strings.Cut(line, "  Sender: ")
	return Report{Text: text}, found
}

// Report is a line that a program of the lab prints: a message was received. Of one that sends: it is being sent, or was acknowledged.
type Report struct {
	Text    string `json:"text"`
	Sending bool   `json:"sending,omitempty"`
}

// report reads a Report.
func report(line string) (r Report, found bool) {
	err := json.Unmarshal([]byte(line), &r)
	return r, err == nil && r.Text != ""
}

// missing is why a client cannot run here; empty if it can.
func (l *Lab) missing(needs []string) string {
	for _, name := range needs {
		if why := l.Tools.Missing[name]; why != "" {
			return name + ": " + why
		}
	}
	return ""
}
