package networks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// HelpEnv makes the test program run as one of the lab's clients: a process that can be stopped and put into a namespace.
const HelpEnv = "SEALPOST_NETWORKS_HELP"

// What the test program can run as.
const (
	helpSDK        = "sdk"
	helpSend       = "send"
	helpCurlPoll   = "curl"
	helpCurlLegacy = "curl legacy"
	helpCurlStream = "curl stream"
	helpCrowd      = "crowd"
)

// Help runs as what HelpEnv says, until it fails.
func Help(ctx context.Context, out io.Writer) error {
	h := helping{
		url: os.Getenv(urlEnv), token: os.Getenv(tokenEnv), self: os.Getenv(selfEnv), peer: os.Getenv(peerEnv), home: os.Getenv(homeEnv),
		curl: os.Getenv(curlEnv), out: json.NewEncoder(out),
	}
	seconds, err := strconv.Atoi(os.Getenv(waitEnv))
	if err != nil {
		return err
	}
	h.wait = time.Duration(seconds) * time.Second
	switch mode := os.Getenv(HelpEnv); mode {
	case helpSDK:
		return h.receive(ctx)
	case helpSend:
		return h.send(ctx)
	case helpCurlPoll:
		return h.curlPolls(ctx, "0")
	case helpCurlLegacy:
		return h.curlPolls(ctx, "")
	case helpCurlStream:
		return h.curlStreams(ctx)
	case helpCrowd:
		return h.crowd(ctx)
	default:
		return fmt.Errorf("there is no help called %q", mode)
	}
}

// helping is a client.
type helping struct {
	url, token, self, peer, home, curl string
	wait                               time.Duration
	out                                *json.Encoder
}

func (h helping) report(text string) error { return h.out.Encode(Report{Text: text}) }

func (h helping) messenger() (*client.Messenger, error) {
	text, err := os.ReadFile(filepath.Join(h.home, keyFile))
	if err != nil {
		return nil, err
	}
	key, err := envelope.ParsePrivateKey(string(text))
	if err != nil {
		return nil, err
	}
	c, err := client.New(h.url, client.WithToken(h.token), client.WithRetryHook(func(err error) {
		if err != nil {
			complain(err)
		}
	}))
	return &client.Messenger{
		Client: c, Username: h.self, Keys: &keyfile.Ring{Keys: []keyfile.Key{{Version: 1, Private: key}}},
		Pins: &client.FilePins{Path: filepath.Join(h.home, "pins.json")},
	}, err
}

// complain tells the test, which shows the end of it when a cell fails.
func complain(err error) { _, _ = fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), err) }

// receive reads with the SDK.
func (h helping) receive(ctx context.Context) error {
	m, err := h.messenger()
	if err != nil {
		return err
	}
	cursor := client.FileCursor{Path: filepath.Join(h.home, "cursor.json")}
	return m.Receive(ctx, cursor, func(_ context.Context, in client.Incoming) error {
		if in.Fault != nil {
			return in.Fault
		}
		return h.report(string(in.Plaintext))
	})
}

// sendPause is the time between two messages of a sender.
const sendPause = 300 * time.Millisecond

// send sends with the SDK, each message until it is acknowledged.
func (h helping) send(ctx context.Context) error {
	m, err := h.messenger()
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		text := fmt.Sprint("m", n)
		if err := h.out.Encode(Report{Text: text, Sending: true}); err != nil {
			return err
		}
		r := api.SendRequest{EncryptedContent: text, IV: "00", RecipientKeys: map[string]string{h.peer: "none"}, ClientMessageID: text}
		for {
			_, err := m.SendSealed(ctx, r)
			if err == nil {
				break
			}
			var answered *api.Error
			if ctx.Err() != nil || (errors.As(err, &answered) && answered.Code != "" && answered.Status < 500) {
				return err
			}
			complain(err)
		}
		if err := h.report(text); err != nil {
			return err
		}
		if err := wait(ctx, sendPause); err != nil {
			return err
		}
	}
}
