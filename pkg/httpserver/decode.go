package httpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
)

// DefaultBodyBytes is the largest body a route accepts unless LimitBody sets another limit.
const DefaultBodyBytes = 64 << 10

// LimitBody lets DecodeJSON accept bodies of up to n bytes on the routes it precedes. Other routes accept DefaultBodyBytes.
func LimitBody(n int64) gin.HandlerFunc {
	return func(c *gin.Context) { exchangeOf(c).bodyLimit = n }
}

var errBodyTooLarge = api.New(http.StatusRequestEntityTooLarge, api.CodeBodyTooLarge, "the request body is too large")

var errBodyTooSlow = api.New(http.StatusRequestTimeout, api.CodeRequestTimeout, "the request body stopped arriving, or arrives too slowly")

// DecodeJSON decodes the request's body into dst, a pointer to a struct. It refuses, with an *api.Error, a body that is not
// declared as JSON, is too large, is not a single JSON object in valid UTF-8, has a field of a wrong type, or has a string with a
// NUL or with half of a surrogate pair, which encoding/json would change without a word. It ignores fields that dst does not have.
func DecodeJSON(c *gin.Context, dst any) error {
	if err := requireJSON(c.Request); err != nil {
		return err
	}
	buffer := bodies.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= pooledBody {
			bodies.Put(buffer)
		}
	}()
	body, err := readBody(c, (*buffer)[:0])
	*buffer = body
	if err != nil {
		return err
	}
	if d, ok := dst.(commonDecoder); ok && d.DecodeCommon(string(body)) {
		return nil
	}
	if !utf8.Valid(body) {
		return api.InvalidJSON("is not valid UTF-8")
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] != '{' {
		return api.InvalidJSON("must be a JSON object")
	}
	if err := json.Unmarshal(body, dst); err != nil {
		return jsonFault(err)
	}
	if at := loneSurrogate(body); at >= 0 {
		return api.InvalidField(fieldAt(body, at), "must not contain half of a surrogate pair")
	}
	if field := fieldWithNUL(reflect.ValueOf(dst).Elem()); field != "" {
		return api.InvalidField(field, "must not contain NUL")
	}
	return nil
}

// commonDecoder is implemented by types that can decode their usual form without encoding/json. False means that encoding/json must
// decode the body or report what is wrong with it.
type commonDecoder interface{ DecodeCommon(text string) bool }

// bodies are buffers for bodies. Nothing retains them: decoding copies. Only small ones are returned to the pool.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

const pooledBody = 64 << 10

func requireJSON(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	if given == "application/json" {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(given)
	if err != nil || mediaType != "application/json" {
		return api.New(http.StatusUnsupportedMediaType, api.CodeUnsupportedMediaType, "the content type must be application/json")
	}
	return nil
}

// readBody appends the body to an empty buffer.
func readBody(c *gin.Context, buffer []byte) ([]byte, error) {
	limit := int64(DefaultBodyBytes)
	if n := exchangeOf(c).bodyLimit; n != 0 {
		limit = n
	}
	if c.Request.ContentLength > limit {
		// Skipping an unread body is not cheap, so this connection serves no further request.
		c.Header("Connection", "close")
		return nil, errBodyTooLarge
	}
	size := limit
	if c.Request.ContentLength >= 0 {
		size = c.Request.ContentLength
	}
	reader := io.Reader(c.Request.Body)
	if c.Request.ContentLength < 0 { // otherwise net/http reads no further than that
		reader = http.MaxBytesReader(c.Writer, c.Request.Body, limit)
	}
	body, err := appendAll(buffer, reader, size)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errBodyTooLarge
	case errors.Is(err, errBusy):
		c.Header("Connection", "close") // the rest of the body is not read
		return nil, busyErrors.find(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Header("Connection", "close")
		return nil, errBodyTooSlow
	case err != nil:
		return nil, api.InvalidJSON("could not be read to its end")
	}
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Time{}) // net/http still reads the connection: a timeout would look like a client that has gone
	return body, nil
}

// appendAll reads r to its end. size is the maximum to expect, but it grows the buffer beyond that of a small body only as data
// arrives: announcing a large body takes no memory.
func appendAll(b []byte, r io.Reader, size int64) ([]byte, error) {
	b = slices.Grow(b, int(min(size, pooledBody-1))+1) // one more, so that the same read finds the end
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return b, err
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
	}
}

func jsonFault(err error) error {
	var fault *api.Error // of a type that decodes itself
	if errors.As(err, &fault) {
		return fault
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		if wrongType.Field == "" {
			return api.InvalidJSON("must be a JSON object")
		}
		return api.InvalidField(wrongType.Field, "has the wrong type: "+wrongType.Value)
	}
	return api.InvalidJSON("is not well-formed JSON")
}

// fieldWithNUL returns the JSON name of the first field of v whose text has a NUL, or "".
func fieldWithNUL(v reflect.Value) string {
	for i := range v.NumField() {
		if hasNUL(v.Field(i)) {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return ""
}

func hasNUL(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return strings.IndexByte(v.String(), 0) >= 0
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if hasNUL(it.Key()) || hasNUL(it.Value()) {
				return true
			}
		}
	}
	return false
}
