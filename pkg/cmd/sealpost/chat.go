package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

const (
	// shownAtStart is how many earlier messages a chat starts with.
	shownAtStart = 10
	// lineQueue is how many lines may wait to be sent without a connection.
	lineQueue = 1000
	// receiptQueue is how many receipts may wait; lastReceipts is how long the end of a chat may take for those that do.
	receiptQueue = 1000
	lastReceipts = 5 * time.Second
	// forever is a patience that outlasts the chat.
	forever = 365 * 24 * time.Hour
)

func (a *app) chatCommand() *cobra.Command {
	wait := time.Duration(0)
	cmd := &cobra.Command{
		Use: "chat USER", Short: "talk to a user", Args: args(1, 1, "one name"),
		Long: `Shows the end of the conversation with USER and what comes in, and sends each line that is typed. Ctrl-D ends it.

A connection that is lost is made again, for as long as you want, whatever is between here and the server and answers in its
place; lines that are typed meanwhile are sent then, each once. Where standard input is not a terminal, its lines are sent,
and the chat ends when all are acknowledged and --wait is over.`,
		RunE: func(cmd *cobra.Command, names []string) error { return a.chat(cmd.Context(), names[0], wait) },
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to go on receiving after the end of the input")
	return cmd
}

func (a *app) chat(ctx context.Context, name string, wait time.Duration) error {
	s := &chatSession{app: a, shown: map[string]bool{}, told: map[string]bool{}, read: make(chan string, receiptQueue)}
	p, m, err := a.messenger(client.WithPatience(forever), client.WithRetryHook(s.connection))
	if err != nil {
		return err
	}
	s.m = m
	if s.receipts, err = a.client(p); err != nil {
		return err
	}
	cursor := client.FileCursor{Path: p.path(cursorFile)}
	if err := s.begin(ctx, name, cursor); err != nil {
		return err
	}
	console, restore, err := a.console()
	if err != nil {
		return err
	}
	defer restore()
	s.console = console
	m.OnReset = func() {
		console.println("The server says that its log has begun anew, as after a restore from a backup. What it has comes from the beginning.")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	work.Go(func() {
		cancel(m.Receive(ctx, cursor, s.receive))
	})
	work.Go(func() { s.giveReceipts(ctx) })
	err = s.sendLines(ctx)
	if err == nil && wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	if cause := context.Cause(ctx); err == nil || errors.Is(err, context.Canceled) {
		err = cause
	}
	cancel(nil)
	work.Wait()
	if err == nil {
		s.giveLastReceipts(context.WithoutCancel(ctx))
	}
	return untilInterrupted(err)
}

// chatSession is one running chat.
type chatSession struct {
	app *app
	m   *client.Messenger
	// receipts tells senders what was read: the messages in read. It gives up soon, and no message waits for it.
	receipts *client.Client
	read     chan string
	peer     string
	// console is nil until the chat has begun.
	console console

	mu sync.Mutex
	// shown holds the ids of messages that are already on the screen.
	shown map[string]bool
	// told holds what was said of the connection since it was last in order.
	told map[string]bool
}

// begin finds the other user and shows the end of the conversation, and all that has come since the last chat: received below the end, it
// would not be in order.
func (s *chatSession) begin(ctx context.Context, name string, cursor client.FileCursor) error {
	at, err := cursor.Load()
	if err != nil {
		return err
	}
	_, found, err := s.m.TrustedKey(ctx, name)
	if err != nil {
		return err
	}
	s.peer = found.Username
	above := at.Position
	if above < 0 { // unknown
		above = math.MaxInt64
	}
	past, err := latest(ctx, s.m, s.peer, shownAtStart, above)
	if err != nil {
		return err
	}
	s.app.note("Talking to %s. Ctrl-D ends the chat; `sealpost keys verify %s` shows your safety number.", shownName(s.peer), shownName(s.peer))
	for _, in := range past {
		s.app.say("%s  %s", in.Timestamp.Local().Format("15:04"), line(in, s.m.Username))
		s.shown[in.MessageID] = true
	}
	return nil
}

// receive shows a received message.
func (s *chatSession) receive(_ context.Context, in client.Incoming) error {
	s.mu.Lock()
	known := s.shown[in.MessageID] || s.shown[in.ClientMessageID]
	s.shown[in.MessageID] = true
	s.mu.Unlock()
	fromPeer := api.SameUsername(in.Sender, s.peer)
	switch {
	case known:
	case fromPeer || concerns(in.Message, s.peer, s.m.Username):
		s.console.println(in.Timestamp.Local().Format("15:04") + "  " + line(in, s.m.Username))
	case !api.SameUsername(in.Sender, s.m.Username):
		s.console.println("(new message from " + shownName(in.Sender) + ")")
	}
	if fromPeer && in.IsUnread {
		select {
		case s.read <- in.MessageID:
		default: // so many wait that the way to the server must be bad
		}
	}
	return nil
}

// giveReceipts tells senders what was read, until ctx ends.
func (s *chatSession) giveReceipts(ctx context.Context) {
	for {
		select {
		case id := <-s.read:
			_ = s.receipts.MarkRead(ctx, id) // not worth more than a few tries
		case <-ctx.Done():
			return
		}
	}
}

// giveLastReceipts gives those that still wait when a chat ends.
func (s *chatSession) giveLastReceipts(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastReceipts)
	defer cancel()
	for {
		select {
		case id := <-s.read:
			if s.receipts.MarkRead(ctx, id) != nil {
				return
			}
		default:
			return
		}
	}
}

// connection says, once per change, that the connection is lost or back, and what is seen of it.
func (s *chatSession) connection(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := "(connected again)"
	if err != nil {
		text = "(" + seen(err) + ", trying again …)"
	}
	switch {
	case s.told[text], err == nil && len(s.told) == 0:
		return
	case err == nil:
		clear(s.told)
	default:
		s.told[text] = true
	}
	if s.console == nil {
		s.app.note("%s", text)
		return
	}
	s.console.println(text)
}

// seen says in a few words why a request is repeated.
func seen(err error) string {
	var answered *api.Error
	switch {
	case errors.Is(err, client.ErrNoConnection):
		return "connection lost"
	case errors.As(err, &answered):
		return "the server answered: " + because(err)
	}
	return because(err)
}

// sendLines sends each input line, in order, until the input ends. The user can type while a line waits for its acknowledgement.
func (s *chatSession) sendLines(ctx context.Context) error {
	lines := make(chan string, lineQueue)
	ended := make(chan error, 1)
	go func() {
		defer close(lines)
		for {
			text, err := s.console.readLine()
			if err != nil {
				ended <- err
				return
			}
			select {
			case lines <- text:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	for {
		select {
		case text, more := <-lines:
			if !more {
				if err := <-ended; !errors.Is(err, io.EOF) {
					return err
				}
				return nil
			}
			if err := s.sendLine(ctx, text); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *chatSession) sendLine(ctx context.Context, text string) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	id := client.NewMessageID()
	s.mu.Lock()
	s.shown[id] = true // already on the screen: it was typed there
	s.mu.Unlock()
	sealed, err := s.m.Seal(ctx, []byte(text), id, s.peer)
	if err == nil {
		_, err = s.m.SendRewrapping(ctx, sealed, []byte(text), s.peer)
	}
	var answered *api.Error
	if errors.As(err, &answered) && answered.Status < 500 && answered.Status != 401 {
		s.console.println("(not sent: " + explain(err) + ")")
		return nil
	}
	return err
}

// console is where a chat reads lines and shows messages.
type console interface {
	readLine() (string, error)
	println(text string)
}

// console puts the terminal, if there is one, into raw mode, so that incoming messages do not break up what is being typed.
func (a *app) console() (c console, restore func(), err error) {
	in, inFile := a.in.(*os.File)
	out, outFile := a.out.(*os.File)
	if !inFile || !outFile || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return &pipe{in: bufio.NewReader(a.in), out: a.out}, func() {}, nil
	}
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, err
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	if width, height, err := term.GetSize(int(out.Fd())); err == nil {
		_ = t.SetSize(width, height)
	}
	return &screen{t}, func() {
		_ = term.Restore(int(in.Fd()), old)
		_, _ = fmt.Fprintln(out)
	}, nil
}

// screen is a terminal in raw mode.
type screen struct{ *term.Terminal }

func (s *screen) readLine() (string, error) { return s.ReadLine() }

func (s *screen) println(text string) { _, _ = fmt.Fprintln(s.Terminal, text) }

// pipe is input and output without a terminal.
type pipe struct {
	in  *bufio.Reader
	mu  sync.Mutex
	out io.Writer
}

func (p *pipe) readLine() (string, error) {
	text, err := p.in.ReadString('\n')
	if errors.Is(err, io.EOF) && text != "" {
		return text, nil
	}
	return strings.TrimRight(text, "\r\n"), err
}

func (p *pipe) println(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.out, text)
}
