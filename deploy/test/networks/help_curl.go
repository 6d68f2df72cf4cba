package networks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

// These are the loops that a script around curl has: a cursor in a variable, a pause after an error.

// curlPause is the pause after an error.
const curlPause = time.Second

// deadAfter is how long a reader waits for bytes that should have come, over the links of the lab, before it connects again.
const deadAfter = 15 * time.Second

// curlPolls polls after a cursor, or, if it is empty, without one.
func (h helping) curlPolls(ctx context.Context, after string) error {
	for {
		address := h.url + "/api/messages/poll"
		if after != "" {
			address += fmt.Sprintf("?limit=20&wait=%d&after=%s", int(h.wait.Seconds()), url.QueryEscape(after))
		}
		args := []string{"--max-time", fmt.Sprint((h.wait + deadAfter).Seconds()), address}
		if after == "" {
			// As browsers do, it keeps cookies: by one, the server knows which answer was received, whatever a proxy has taken or repeated.
			jar := filepath.Join(h.home, "cookies")
			args = append(args, "--cookie", jar, "--cookie-jar", jar)
		}
		cmd, err := h.curlCommand(ctx, args...)
		if err != nil {
			return err
		}
		var p api.PollResponse
		text, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			complain(fmt.Errorf("%w: %.80s", err, text))
			if err := wait(ctx, curlPause); err != nil {
				return err
			}
			continue
		}
		if p.Data != nil {
			p.Messages = append(p.Messages, *p.Data)
		}
		for _, m := range p.Messages {
			if err := h.report(m.EncryptedContent); err != nil {
				return err
			}
		}
		if after != "" {
			after = p.Cursor
		}
	}
}

// curlCommand makes a call of curl. The token is in a file: arguments are seen by everybody on a machine.
func (h helping) curlCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	file := filepath.Join(h.home, "header")
	if err := os.WriteFile(file, []byte("Authorization: Bearer "+h.token), 0o600); err != nil {
		return nil, err
	}
	args = append([]string{"--silent", "--show-error", "--fail", "--header", "@" + file}, args...)
	cmd := exec.CommandContext(ctx, h.curl, args...) //nolint:gosec // found by the lab
	return cmd, nil
}

// curlStreams reads a stream, and goes on after the last event when it ends.
func (h helping) curlStreams(ctx context.Context) error {
	last := ""
	for {
		// A stream on which nothing comes, not even a heartbeat, is dead.
		args := []string{"--no-buffer", "--speed-limit", "1", "--speed-time", "40", h.url + "/api/messages/stream"}
		if last != "" {
			args = append(args, "--header", "Last-Event-ID: "+last)
		}
		cmd, err := h.curlCommand(ctx, args...)
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		last = h.events(bufio.NewScanner(out), last)
		if err := cmd.Wait(); err != nil {
			complain(err)
		}
		if err := wait(ctx, curlPause); err != nil {
			return err
		}
	}
}

// events reports the messages of a stream, and returns the id of the last complete event.
func (h helping) events(lines *bufio.Scanner, last string) string {
	lines.Buffer(nil, 1<<20)
	event := map[string]string{}
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			event[name] = strings.TrimPrefix(value, " ")
			continue
		}
		if id := event["id"]; id != "" {
			last = id
		}
		var m api.Message
		if event["event"] == "" && json.Unmarshal([]byte(event["data"]), &m) == nil && m.EncryptedContent != "" {
			if h.report(m.EncryptedContent) != nil {
				return last
			}
		}
		clear(event)
	}
	return last
}
