package apitest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// stream is an open stream of events.
type stream struct {
	lines  *bufio.Reader
	close  func()
	answer answer
}

// event is a server-sent event (WHATWG HTML, "Server-sent events").
type event struct {
	id, name, data string
}

// opens opens a stream; lastEventID may be empty.
func (u *user) opens(t *testing.T, query, lastEventID string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	c := call{path: "/api/messages/stream" + query, token: u.token}
	if lastEventID != "" {
		c.header = map[string]string{"Last-Event-ID": lastEventID}
	}
	req, body, err := u.d.request(ctx, c)
	require.NoError(t, err)
	res, err := u.d.http.Do(req) //nolint:bodyclose // s.close does that
	require.NoError(t, err)
	s := &stream{lines: bufio.NewReader(res.Body), answer: answer{status: res.StatusCode, header: res.Header}}
	s.close = func() {
		cancel()
		_ = res.Body.Close()
	}
	t.Cleanup(s.close)
	if res.StatusCode != http.StatusOK {
		s.answer.body, err = io.ReadAll(res.Body)
		require.NoError(t, err)
	}
	require.NoError(t, u.d.judge(c, req, body, s.answer))
	return s
}

// next waits for the next event, and ignores comments and the beginning of a stream on which there is nothing yet.
func (s *stream) next(t *testing.T) event {
	t.Helper()
	for {
		e, err := s.read()
		require.NoError(t, err, "the stream ended, or nothing came")
		if e.name != "cursor" {
			return e
		}
	}
}

func (s *stream) read() (event, error) {
	var e event
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data += value
		case "":
			if e != (event{}) {
				return e, nil
			}
		}
	}
}

// nextMessage waits for the next event, which must be a message.
func (s *stream) nextMessage(t *testing.T) (id string, m api.Message) {
	t.Helper()
	e := s.next(t)
	require.Empty(t, e.name, e.data)
	decoder := json.NewDecoder(strings.NewReader(e.data))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&m))
	return e.id, m
}

func streams(d *deployment) []claim {
	return []claim{
		{"send what is stored and then what comes, each with the cursor after it as id", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			_, first := ann.sends(t, bob)
			_, second := ann.sends(t, bob)
			s := bob.opens(t, "?after=0", "")
			for i, sent := range []api.SendResponse{first, second} {
				id, m := s.nextMessage(t)
				require.EqualValues(t, i+1, positionOf(t, id))
				require.Equal(t, bob.message(t, sent.MessageID), m)
			}
			_, third := ann.sends(t, bob)
			id, m := s.nextMessage(t)
			require.EqualValues(t, 3, positionOf(t, id))
			require.Equal(t, bob.message(t, third.MessageID), m)
		}},
		{"begin at the beginning unless told otherwise", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			_, sent := users[0].sends(t, users[1])
			_, m := users[1].opens(t, "", "").nextMessage(t)
			require.Equal(t, sent.MessageID, m.MessageID)
		}},
		{"go on after Last-Event-ID, whatever after says", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			for range 3 {
				users[0].sends(t, users[1])
			}
			users[1].receives(t, 3)
			id, _ := users[1].opens(t, "?after=0", "2").nextMessage(t)
			require.EqualValues(t, 3, positionOf(t, id))
			cursor := users[1].polls(t, "after=0&limit=1&wait=20").Cursor
			id, _ = users[1].opens(t, "?after="+cursor, "").nextMessage(t)
			require.EqualValues(t, 2, positionOf(t, id))
		}},
		{"begin at the head with latest", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[0].sends(t, users[1])
			users[1].receives(t, 1)
			s := users[1].opens(t, "?after=latest", "")
			_, sent := users[0].sends(t, users[1])
			id, m := s.nextMessage(t)
			require.EqualValues(t, 2, positionOf(t, id))
			require.Equal(t, sent.MessageID, m.MessageID)
		}},
		{"give a client that begins at the head an id at once, with which nothing is lost", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[0].sends(t, users[1])
			users[1].receives(t, 1)
			s := users[1].opens(t, "?after=latest", "")
			e, err := s.read()
			require.NoError(t, err)
			require.Equal(t, event{id: e.id, name: "cursor", data: `{"cursor":"` + e.id + `"}`}, e)
			s.close()
			_, sent := users[0].sends(t, users[1])
			_, m := users[1].opens(t, "?after=latest", e.id).nextMessage(t)
			require.Equal(t, sent.MessageID, m.MessageID)
			require.Equal(t, []api.Message{m}, users[1].polls(t, "wait=20&after="+e.id).Messages, "it is a cursor like a poll's")
		}},
		{"tell of positions that hold nothing for the reader", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[1].sends(t, users[0])
			s := users[1].opens(t, "", "")
			e := s.next(t)
			require.Equal(t, event{id: e.id, name: "skipped", data: `{"skipped":[1]}`}, e)
			require.EqualValues(t, 1, positionOf(t, e.id))
			users[0].sends(t, users[1])
			id, _ := s.nextMessage(t)
			require.EqualValues(t, 2, positionOf(t, id))
		}},
		{"reset a position past the head and a cursor of another history", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			_, sent := users[0].sends(t, users[1])
			users[1].receives(t, 1)
			for _, after := range []string{"2", "old.1"} {
				s := users[1].opens(t, "?after="+after, "")
				e := s.next(t)
				require.Equal(t, "reset", e.name)
				var p api.PollResponse
				require.NoError(t, json.Unmarshal([]byte(e.data), &p))
				require.Equal(t, api.PollReset, p.Type)
				require.Zero(t, positionOf(t, p.Cursor))
				require.Equal(t, p.Cursor, e.id)
				_, m := s.nextMessage(t)
				require.Equal(t, sent.MessageID, m.MessageID)
			}
		}},
		{"end when their session does", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[0].sends(t, users[1])
			s := users[1].opens(t, "", "")
			s.nextMessage(t)
			into[api.MessageResponse](t, users[1].post(t, "/api/auth/logout", nil), http.StatusOK)
			_, err := s.read()
			require.ErrorIs(t, err, io.EOF)
		}},
		{"refuse a position that is none, and say which", func(t *testing.T) {
			u := d.newUser(t, "Bob")
			for _, text := range []string{"x", "-1", "1.5", "1e3", "9223372036854775808"} {
				u.opens(t, "?after="+text, "").answer.refusedField(t, api.CodeInvalidField, "after")
				u.opens(t, "?after=0", text).answer.refusedField(t, api.CodeInvalidField, "Last-Event-ID")
			}
		}},
	}
}
