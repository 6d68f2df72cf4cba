package httpserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
)

func fault(t *testing.T, w *httptest.ResponseRecorder) api.Error {
	var e api.Error
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &e), w.Body.String())
	e.Status = w.Code
	require.Equal(t, w.Header().Get("X-Request-ID"), e.RequestID)
	return e
}

type body struct {
	Name string            `json:"name"`
	Age  int               `json:"age"`
	Keys map[string]string `json:"keys"`
}

func decoding(r gin.IRouter) {
	table := httpserver.ErrorTable{}
	r.POST("/decode", table.Handle(func(c *gin.Context) error {
		var b body
		if err := httpserver.DecodeJSON(c, &b); err != nil {
			return err
		}
		c.JSON(http.StatusOK, b)
		return nil
	}))
	r.POST("/small", httpserver.LimitBody(10), table.Handle(func(c *gin.Context) error {
		return httpserver.DecodeJSON(c, &body{})
	}))
}

func TestABodyThatIsNotWhatTheRouteTakesIsRefusedByNameOfTheField(t *testing.T) {
	r := newRig(t, httpserver.Config{}, decoding)
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		code                    api.Code
		field                   string
	}{
		{"good", "application/json", `{"name":"x"}`, 200, "", ""},
		{"good with charset", "application/json; charset=utf-8", `{"name":"x","other":[1,{}]}`, 200, "", ""},
		{"empty object", "application/json", ` {} `, 200, "", ""},
		{"no content type", "", `{}`, 415, api.CodeUnsupportedMediaType, ""},
		{"form", "application/x-www-form-urlencoded", `name=x`, 415, api.CodeUnsupportedMediaType, ""},
		{"nothing", "application/json", ``, 400, api.CodeInvalidJSON, ""},
		{"white space", "application/json", ` `, 400, api.CodeInvalidJSON, ""},
		{"null", "application/json", `null`, 400, api.CodeInvalidJSON, ""},
		{"array", "application/json", `[]`, 400, api.CodeInvalidJSON, ""},
		{"string", "application/json", `"x"`, 400, api.CodeInvalidJSON, ""},
		{"many blanks, then an array", "application/json", strings.Repeat(" ", 500) + `[]`, 400, api.CodeInvalidJSON, ""},
		{"many blanks, then null", "application/json", strings.Repeat(" ", 500) + `null`, 400, api.CodeInvalidJSON, ""},
		{"truncated", "application/json", `{"name":"x"`, 400, api.CodeInvalidJSON, ""},
		{"trailing data", "application/json", `{} {}`, 400, api.CodeInvalidJSON, ""},
		{"invalid UTF-8", "application/json", "{\"name\":\"\xff\"}", 400, api.CodeInvalidJSON, ""},
		{"deep nesting", "application/json", `{"other":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, 400, api.CodeInvalidJSON, ""},
		{"wrong type", "application/json", `{"name":5}`, 400, api.CodeInvalidField, "name"},
		{"wrong type inside", "application/json", `{"keys":{"bob":5}}`, 400, api.CodeInvalidField, "keys"},
		{"number too large", "application/json", `{"age":1e99}`, 400, api.CodeInvalidField, "age"},
		{"fraction", "application/json", `{"age":1.5}`, 400, api.CodeInvalidField, "age"},
		{"NUL", "application/json", `{"name":"a\u0000b"}`, 400, api.CodeInvalidField, "name"},
		{"NUL in a key", "application/json", `{"keys":{"a\u0000b":"x"}}`, 400, api.CodeInvalidField, "keys"},
		{"a surrogate pair", "application/json", `{"name":"\ud83d\uDE00 \\ud800 \n"}`, 200, "", ""},
		{"half of a surrogate pair", "application/json", `{"other":{"name":"a"},"name":"a\ud83d"}`, 400, api.CodeInvalidField, "name"},
		{"the second half alone", "application/json", `{"name":"\ude00","age":1}`, 400, api.CodeInvalidField, "name"},
		{"halves in the wrong order", "application/json", `{"keys":{"a":"\ude00\ud83d"}}`, 400, api.CodeInvalidField, "keys"},
		{"half in a key", "application/json", `{"age":1,"keys":{"\ud83d":"b"}}`, 400, api.CodeInvalidField, "keys"},
		{"half before other text", "application/json", `{"name":"\ud83d\\ude00"}`, 400, api.CodeInvalidField, "name"},
		{"too large", "application/json", `{"name":"` + strings.Repeat("x", httpserver.DefaultBodyBytes) + `"}`, 413, api.CodeBodyTooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := r.post("/decode", c.contentType, c.body)
			require.Equal(t, c.status, w.Code, w.Body.String())
			if c.code != "" {
				e := fault(t, w)
				require.Equal(t, c.code, e.Code)
				require.Equal(t, c.field, e.Field)
			}
		})
	}
}

// TestASendToMoreThanThereMayBeIsRefusedWithoutTheRest: the body of 5 MiB is read, and little more memory is taken than that.
func TestASendToMoreThanThereMayBeIsRefusedWithoutTheRest(t *testing.T) {
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.POST("/send", httpserver.LimitBody(8<<20), httpserver.ErrorTable{}.Handle(func(c *gin.Context) error {
			return httpserver.DecodeJSON(c, &api.SendRequest{})
		}))
	})
	var members strings.Builder
	for i := range 582_000 {
		fmt.Fprintf(&members, `,"%x":1`, i)
	}
	for field, body := range map[string]string{
		"recipientKeys":        `{"recipientKeys":{` + members.String()[1:] + `}}`,
		"recipientKeyVersions": `{"recipientKeyVersions":{` + members.String()[1:] + `}}`,
		"iv":                   `{"unknown":{` + members.String()[1:] + `},"iv":"\ud83d"}`,
	} {
		t.Run(field, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			w := r.post("/send", "application/json", body)
			runtime.ReadMemStats(&after)
			e := fault(t, w)
			require.Equal(t, http.StatusBadRequest, e.Status)
			require.Equal(t, api.CodeInvalidField, e.Code)
			require.Equal(t, field, e.Field)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(6*len(body)), "the body, the buffers that it outgrew, and one copy")
		})
	}
}

func TestABodyWithoutALengthIsLimitedToo(t *testing.T) {
	r := newRig(t, httpserver.Config{}, decoding)
	req := httptest.NewRequest(http.MethodPost, "/small", io.MultiReader(strings.NewReader(`{"name":"`), strings.NewReader(`xxxxxxxxxx"}`)))
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/json")
	require.Equal(t, api.CodeBodyTooLarge, fault(t, r.do(req)).Code)
	require.Equal(t, http.StatusOK, r.post("/small", "application/json", `{}`).Code)
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"x"}`, `{"name":5}`, `[]`, `null`, "{\"name\":\"\xff\"}", `{"keys":{"a":"b"}}`} {
		f.Add([]byte(seed))
	}
	engine := gin.New()
	decoding(engine)
	f.Fuzz(func(t *testing.T, text []byte) {
		req := httptest.NewRequest(http.MethodPost, "/decode", bytes.NewReader(text))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, req)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
			t.Fatalf("status %d for %q", w.Code, text)
		}
		if w.Code == http.StatusOK && !json.Valid(text) {
			t.Fatalf("took %q", text)
		}
	})
}
