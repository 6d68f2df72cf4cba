package wire

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"mime"
	"net"
	"net/http"
	"time"
)

// eventBuffer is large enough for a usual event; it grows for a longer one.
const eventBuffer = 4096

// Event is a Server-Sent Event. It is valid until the next one.
type Event struct {
	// Name is empty for a message.
	Name string
	ID   string
	Data []byte
}

// Listen makes a request that is answered with a stream of Server-Sent Events, on its own connection, and calls take for each until ctx
// ends, take fails, or the stream ends, with io.EOF. It also ends when nothing, not even a comment, has come for r.Timeout. Without an
// error the answer was not a stream, and is returned.
func (c *Conn) Listen(ctx context.Context, r Request, take func(Event) error) (Answer, error) {
	stop := context.AfterFunc(ctx, c.Break)
	defer stop()
	c.drop()
	c.build(r)
	deadline := time.Now().Add(r.Timeout)
	if _, err := c.open(ctx, deadline); err != nil {
		return Answer{}, c.why(ctx, err)
	}
	conn, err := c.write(deadline)
	if err != nil {
		return Answer{}, c.why(ctx, err)
	}
	res, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.drop()
		return Answer{}, c.why(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		a, err := c.whole(res)
		return a, c.why(ctx, err)
	}
	defer c.drop()
	err = c.events(&patient{conn: conn, body: res.Body, silence: r.Timeout}, take)
	return Answer{Status: res.StatusCode}, c.why(ctx, err)
}

// events parses events (WHATWG HTML, Server-sent events) as far as this server writes them.
func (c *Conn) events(body io.Reader, take func(Event) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, eventBuffer), maxAnswer)
	var e Event
	c.in.Reset()
	for lines.Scan() {
		line := lines.Bytes()
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case len(line) > 0:
			c.field(&e, string(field), value)
		case c.in.Len() > 0:
			e.Data = c.in.Bytes()
			if err := take(e); err != nil {
				return err
			}
			e = Event{}
			c.in.Reset()
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

func (c *Conn) field(e *Event, name string, value []byte) {
	switch name {
	case "event":
		e.Name = string(value)
	case "id":
		e.ID = string(value)
	case "data":
		c.in.Write(value)
	}
}

// patient reads from a connection, and fails if nothing comes for too long.
type patient struct {
	conn    net.Conn
	body    io.Reader
	silence time.Duration
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.conn.SetDeadline(time.Now().Add(p.silence)); err != nil {
		return 0, err
	}
	return p.body.Read(b)
}
