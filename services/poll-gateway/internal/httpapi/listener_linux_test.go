package httpapi

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listener reads a stream.
type listener struct {
	*caller
	res  *http.Response
	text *bufio.Reader
}

// listen opens a stream and which begins with the opening if there is nothing yet.
func (c *caller) listen(after string, headers ...string) *listener {
	c.t.Helper()
	c.get("/api/messages/stream?after="+after, headers...)
	return c.begun()
}

func (c *caller) begun() *listener {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil) //nolint:bodyclose // it is the connection
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, res.StatusCode)
	require.Equal(c.t, []string{"chunked"}, res.TransferEncoding)
	return &listener{c, res, bufio.NewReader(res.Body)}
}

// next reads an event, without the empty line that ends it.
func (l *listener) next() (string, error) {
	var event strings.Builder
	for {
		line, err := l.text.ReadString('\n')
		if err != nil || line == "\n" {
			return event.String(), err
		}
		event.WriteString(line)
	}
}

func (l *listener) expect(event string) {
	l.t.Helper()
	got, err := l.next()
	require.NoError(l.t, err)
	require.Contains(l.t, got, event)
}

// expectEnd expects that the answer is complete, and that the connection then serves another request, or ends.
func (l *listener) expectEnd(lives bool) {
	l.t.Helper()
	got, err := l.next()
	require.ErrorIs(l.t, err, io.EOF)
	require.Empty(l.t, got)
	if !lives {
		_, err = l.in.ReadByte()
		require.ErrorIs(l.t, err, io.EOF)
		return
	}
	l.get("/api/health")
	require.Contains(l.t, l.answer().body, `"status":"healthy"`)
}

const beat = ": heartbeat\n"

// opening begins a stream on which there is nothing yet.
const opening = "event: cursor\n"

// readAll reads a stream to its end and expects messages once and in order.
func (l *listener) readAll(t *testing.T) {
	for next := 1; ; {
		got, err := l.next()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			require.Empty(t, got)
			return
		}
		if got != beat && !strings.Contains(got, opening) {
			require.Contains(t, got, "id: epoch."+strconv.Itoa(next)+"\n")
			next++
		}
	}
}
