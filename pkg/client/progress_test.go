package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

// link is a listener whose connections carry so many bytes a second, either way, in a test's own time; 0 means any number.
type link struct {
	speed       int
	http2       bool
	connections chan net.Conn
	closed      chan struct{}
}

func (l *link) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *link) Close() error   { close(l.closed); return nil }
func (l *link) Addr() net.Addr { return &net.TCPAddr{} }

func (l *link) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	l.connections <- &throttled{far, l.speed}
	return &throttled{near, l.speed}, nil
}

// throttled is a connection that writes slowly.
type throttled struct {
	net.Conn
	speed int
}

func (c *throttled) Write(text []byte) (n int, err error) {
	for n < len(text) && err == nil {
		part := text[n:min(len(text), n+max(c.speed, 64<<10))]
		if c.speed > 0 {
			<-time.After(time.Duration(len(part)) * time.Second / time.Duration(c.speed))
		}
		var sent int
		sent, err = c.Conn.Write(part)
		n += sent
	}
	return n, err
}

// overLink runs f in a bubble of its own time, with a client whose link to a server is slow. The server handles requests with handle.
func overLink(t *testing.T, l link, handle http.HandlerFunc, f func(t *testing.T, m *client.Messenger), options ...client.Option) {
	testKeys() // not in the bubble: they are kept
	synctest.Test(t, func(t *testing.T) {
		l.connections, l.closed = make(chan net.Conn), make(chan struct{})
		var protocols http.Protocols
		protocols.SetHTTP1(!l.http2)
		protocols.SetUnencryptedHTTP2(l.http2)
		server := &http.Server{Handler: handle, Protocols: &protocols}
		go func() { _ = server.Serve(&l) }()
		transport := &http.Transport{DialContext: l.dial, Protocols: &protocols}
		s := &script{t: t, url: "http://server.example"}
		m := s.messenger(append([]client.Option{client.WithHTTPClient(&http.Client{Transport: transport}), client.WithPatience(0)}, options...)...)
		defer func() {
			transport.CloseIdleConnections()
			require.NoError(t, server.Shutdown(context.Background())) // waits for handlers that nobody waits for
		}()
		f(t, m)
	})
}

const slow = 64 << 10 // 512 kbit/s, in bytes

func TestASlowDownloadGoesOnAsLongAsBytesCome(t *testing.T) {
	sent := make([]api.Message, 4)
	for i := range sent {
		sent[i] = api.Message{Seq: int64(i + 1), EncryptedContent: strings.Repeat("00", 1<<20)}
	}
	overLink(t, link{speed: slow}, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, api.PollResponse{Type: api.PollMessages, Messages: sent, Cursor: "e.4"})
	}, func(t *testing.T, m *client.Messenger) {
		began := time.Now()
		answer, err := m.Poll(t.Context(), "0", 100, 25*time.Second)
		require.NoError(t, err)
		require.Len(t, answer.Messages, 4)
		require.Greater(t, time.Since(began), 2*time.Minute)
	})
}

func TestASlowUploadGoesOnAsLongAsBytesGo(t *testing.T) {
	var came int
	overLink(t, link{speed: slow}, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		came = len(text)
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	}, func(t *testing.T, m *client.Messenger) {
		began := time.Now()
		_, err := m.SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1", EncryptedContent: strings.Repeat("00", 2<<20)})
		require.NoError(t, err)
		require.Greater(t, came, 4<<20)
		require.Greater(t, time.Since(began), time.Minute)
	})
}

// TestWhatWaitsInBuffersEarnsTime: the kernel, or a proxy, has taken the whole body, and the slow link is behind it.
func TestWhatWaitsInBuffersEarnsTime(t *testing.T) {
	handle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-time.After(100 * time.Second)
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	}
	overLink(t, link{}, handle, func(t *testing.T, m *client.Messenger) {
		_, err := m.SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1", EncryptedContent: strings.Repeat("0", 1<<20)})
		require.NoError(t, err)
	})
	overLink(t, link{}, handle, func(t *testing.T, m *client.Messenger) {
		_, err := m.SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1", EncryptedContent: "00"})
		require.ErrorIs(t, err, client.ErrNoConnection, "a small message needs no such time")
	})
}

func TestARequestWithoutProgressEnds(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half an answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"username":`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"half an error": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		for _, l := range []link{{}, {http2: true}} {
			t.Run(fmt.Sprint(name, ", over HTTP/2: ", l.http2), func(t *testing.T) {
				overLink(t, l, handle, func(t *testing.T, m *client.Messenger) {
					began := time.Now()
					_, err := m.Profile(t.Context())
					require.Error(t, err)
					require.NotErrorIs(t, err, context.Canceled, "the caller has not cancelled it")
					require.Equal(t, 30*time.Second, time.Since(began).Truncate(time.Second))
				})
			})
		}
	}
}

func TestALongPollMayBeSilentForItsWait(t *testing.T) {
	late := 55 * time.Second
	handle := func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush() // the head of the answer may come before the wait
		<-time.After(late)
		_ = json.NewEncoder(w).Encode(api.PollResponse{Type: api.PollTimeout, Cursor: "e.0"})
	}
	overLink(t, link{}, handle, func(t *testing.T, m *client.Messenger) {
		_, err := m.Poll(t.Context(), "0", 100, time.Minute)
		require.NoError(t, err)
		_, err = m.Poll(t.Context(), "0", 100, 10*time.Second)
		require.ErrorIs(t, err, client.ErrNoConnection)
	})
}

// TestARequestThatFindsNoConnectionInTimeWasNeverSent, so nothing was done.
func TestARequestThatFindsNoConnectionInTimeWasNeverSent(t *testing.T) {
	hour := time.Hour
	never := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		<-time.After(hour)
		return nil, io.EOF
	}}
	overLink(t, link{}, nil, func(t *testing.T, m *client.Messenger) {
		_, err := m.SendSealed(t.Context(), api.SendRequest{ClientMessageID: "1"})
		require.ErrorIs(t, err, client.ErrNoConnection)
		require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
		<-time.After(hour) // net/http goes on dialling
	}, client.WithHTTPClient(&http.Client{Transport: never}))
}

// receiveOver receives from a server that sends messages of a size, as many as are asked for at a time. It returns how many bytes each
// poll asked for. cut says which polls are cut off.
func receiveOver(t *testing.T, speed, size, total int, cut func(poll, asked int) bool) (asked []int) {
	message := api.Message{EncryptedContent: strings.Repeat("0", size)}
	next := 1
	handle := func(w http.ResponseWriter, r *http.Request) {
		most, _ := strconv.Atoi(r.URL.Query().Get("maxBytes"))
		asked = append(asked, most)
		if next > total {
			refuse(w, 401, api.CodeTokenRevoked)
			return
		}
		p := api.PollResponse{Type: api.PollMessages}
		for bytes := 0; len(p.Messages) == 0 || (bytes+size <= most && next+len(p.Messages) <= total); bytes += size {
			message.Seq = int64(next + len(p.Messages))
			message.MessageID = strconv.Itoa(next + len(p.Messages))
			p.Messages = append(p.Messages, message)
		}
		p.Cursor = strconv.Itoa(next + len(p.Messages) - 1)
		if text, _ := json.Marshal(p); cut(len(asked), most) {
			_, _ = w.Write(text[:len(text)/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		next += len(p.Messages)
		reply(w, 200, p)
	}
	overLink(t, link{speed: speed}, handle, func(t *testing.T, m *client.Messenger) {
		came := 0
		err := m.Receive(t.Context(), &memory{at: client.Cursor{Text: "0"}}, func(context.Context, client.Incoming) error { came++; return nil })
		require.True(t, client.IsCode(err, api.CodeTokenRevoked), "%v", err)
		require.Equal(t, total, came)
	})
	return asked
}

func never(int, int) bool { return false }

func TestWhereAnswersAreCutOffLessIsAskedFor(t *testing.T) {
	const most = 300 << 10
	asked := receiveOver(t, 0, 100<<10, 40, func(_, asked int) bool { return asked > most })
	require.Equal(t, 8<<20, asked[0])
	require.Less(t, asked[1], 4<<20, "less than half of it has come")
	require.LessOrEqual(t, asked[len(asked)-1], 2*most)
}

func TestWhereALinkIsSlowLessIsAskedForAndMoreAgainWhenItIsFast(t *testing.T) {
	asked := receiveOver(t, slow, 100<<10, 300, never)
	require.Equal(t, 8<<20, asked[0])
	require.LessOrEqual(t, asked[len(asked)-1], 10*slow)

	asked = receiveOver(t, 0, 10<<10, 600, func(poll, _ int) bool { return poll < 8 })
	least, last := asked[7], asked[len(asked)-1]
	require.Less(t, least, 1<<20)
	require.Greater(t, last, least)
}

func TestLessThanOneMessageIsNotAskedFor(t *testing.T) {
	asked := receiveOver(t, 0, 100, 1, func(poll, _ int) bool { return poll < 20 })
	require.Equal(t, 16<<10, asked[len(asked)-1])
}
