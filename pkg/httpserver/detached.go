package httpserver

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// Detached is a request whose handler returns before it is answered: its connection has been taken over, and the answer is written
// there later. There may be many, so it keeps only what that needs.
type Detached struct {
	endpoint *endpoint
	// began is relative to the start of the metrics.
	began time.Duration
	// common are header lines that most requests share; own are specific to this request.
	common unique.Handle[string]
	own    string
	id     string
	// trace is the context of the request's span, which has ended; nil unless sampled.
	trace *trace.SpanContext
	// close: the client wants the connection closed.
	close bool
}

// ownHeaders differ from request to request.
var ownHeaders = []string{requestIDHeader, rateLimitHeader}

// Detach is called once the connection of c has been taken over. Done then counts and logs the request, instead of the middleware.
// The answer has the headers that are set in c.
func Detach(c *gin.Context) Detached {
	d := detach(c)
	h := c.Writer.Header()
	if h.Get("Connection") == "close" {
		d.close = true
		h.Del("Connection")
	}
	d.common, d.own = d.endpoint.head(h)
	if at := strings.LastIndex(d.own, d.id); at >= 0 {
		d.id = d.own[at:][:len(d.id)] // share one string instead of keeping two
	}
	return d
}

// DetachBegun is Detach for an answer whose head is already written: only its body is left.
func DetachBegun(c *gin.Context) Detached {
	d := detach(c)
	d.close = d.close || c.Writer.Header().Get("Connection") == "close"
	return d
}

func detach(c *gin.Context) Detached {
	d := Detached{id: logging.RequestID(c.Request.Context()), trace: tracing.Sampled(c.Request.Context()), close: c.Request.Close}
	if e := exchangeOf(c); e.metrics != nil {
		e.detached = true
		d.began, d.endpoint = e.began.Sub(e.metrics.start), e.metrics.endpoint(c)
	}
	return d
}

// head writes headers as text, in two parts. The common part is nearly always just the standing headers, which every answer has.
func (e *endpoint) head(h http.Header) (common unique.Handle[string], own string) {
	if e == nil || !e.metrics.onlyStanding(h) {
		return head(h)
	}
	text := make([]byte, 0, 192)
	for i := len(ownHeaders) - 1; i >= 0; i-- { // in sorted order
		if values := h[ownHeaders[i]]; len(values) > 0 {
			text = append(append(append(append(text, ownHeaders[i]...), ": "...), values[0]...), "\r\n"...)
		}
	}
	return e.metrics.standing.text, string(text)
}

// standingHeaders are the headers of securityHeaders, and their text.
type standingHeaders struct {
	headers http.Header
	text    unique.Handle[string]
}

func newStanding() standingHeaders {
	headers := standing()
	text, _ := head(headers)
	return standingHeaders{headers, text}
}

// onlyStanding reports whether h holds only the standing headers and the request's own.
func (m *httpMetrics) onlyStanding(h http.Header) bool {
	own := 0
	for _, name := range ownHeaders {
		if values, there := h[name]; there {
			if own++; len(values) != 1 {
				return false
			}
		}
	}
	if len(h) != len(m.standing.headers)+own {
		return false
	}
	for name, values := range m.standing.headers {
		if v := h[name]; len(v) != 1 || v[0] != values[0] {
			return false
		}
	}
	return true
}

// head does the same for arbitrary headers.
func head(h http.Header) (common unique.Handle[string], own string) {
	h = h.Clone()
	mine := make(http.Header, len(ownHeaders))
	for _, name := range ownHeaders {
		if values := h[name]; values != nil {
			mine[name] = values
			delete(h, name)
		}
	}
	var text strings.Builder
	_ = h.Write(&text) // a Builder takes everything
	common = unique.Make(text.String())
	text.Reset()
	_ = mine.Write(&text)
	return common, strings.Clone(text.String())
}

// KeepAlive reports whether the client lets the connection stay open after the answer.
func (d *Detached) KeepAlive() bool { return !d.close }

// OK returns the head of a 200 with a JSON body of size bytes, which must follow it. headers are the names and values of its own headers.
func (d *Detached) OK(size int, keepAlive bool, headers ...string) []byte {
	return d.head(http.StatusOK, headers, size, keepAlive)
}

// Failure returns the text of t's answer to err, and logs it as Write does.
func (d *Detached) Failure(t ErrorTable, err error, keepAlive bool) (status int, response []byte) {
	e := t.find(err)
	e.RequestID = d.id
	if d.endpoint != nil {
		d.endpoint.metrics.failures.add(d.context(), d.endpoint.route, e, err)
	}
	body, _ := json.Marshal(e) // strings and numbers: it cannot fail
	return e.Status, append(d.head(e.Status, errorHeaders(e), len(body), keepAlive), body...)
}

func (d *Detached) context() context.Context {
	return tracing.With(logging.WithRequestID(context.Background(), d.id), d.trace)
}

// head writes an HTTP/1.1 response (RFC 9112) up to its body of size bytes.
func (d *Detached) head(status int, headers []string, size int, keepAlive bool) []byte {
	common := d.common.Value()
	b := make([]byte, 0, len(common)+len(d.own)+256)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(b, ' '), http.StatusText(status)...)
	b = append(append(append(b, "\r\n"...), common...), d.own...)
	for i := 0; i+1 < len(headers); i += 2 {
		b = append(append(append(append(b, headers[i]...), ": "...), headers[i+1]...), "\r\n"...)
	}
	b = append(b, "Content-Type: application/json; charset=utf-8\r\nDate: "...)
	if d.endpoint != nil {
		b = append(b, d.endpoint.metrics.now()...)
	} else {
		b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(size), 10)
	if !keepAlive {
		b = append(b, "\r\nConnection: close"...)
	}
	return append(b, "\r\n\r\n"...)
}

// Trace is the context of the request's span; nil unless it is sampled.
func (d *Detached) Trace() *trace.SpanContext { return d.trace }

// Done counts and logs the request once it has been answered, or its client has gone. size is the size of the answer's body.
func (d *Detached) Done(status, size int) {
	if d.endpoint == nil {
		return
	}
	ctx, began := d.context(), d.endpoint.metrics.start.Add(d.began)
	d.endpoint.answered(ctx, began, status, size)
	if d.trace != nil {
		_, span := d.endpoint.metrics.tracer.Start(ctx, "wait", trace.WithTimestamp(began))
		setStatus(span, status)
		span.End()
	}
}
