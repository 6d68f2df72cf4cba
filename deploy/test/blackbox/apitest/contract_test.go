package apitest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// answered is an exchange with the headers of every answer.
func answered(method, path string, status int, body string) exchange {
	return exchange{method: method, path: path, status: status, body: []byte(body), header: http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "X-Request-Id": {"r1"}, "Cache-Control": {"no-store"},
		"X-Content-Type-Options": {"nosniff"}, "X-Frame-Options": {"DENY"}, "Referrer-Policy": {"no-referrer"},
	}}
}

func with(x exchange, header, value string) exchange {
	x.header = x.header.Clone()
	x.header.Set(header, value)
	return x
}

const (
	goodTimeout = `{"type":"timeout","cursor":"abc.1"}`
	goodFault   = `{"message":"m","code":"message_not_found","requestId":"r1"}`
	aMessage    = `{"_id":"6733a0c41f2e9b7d5c8a4e10","messageId":"6733a0c41f2e9b7d5c8a4e10","seq":7,"sender":"Ann",` +
		`"encryptedContent":"c","iv":"i","recipientKeys":{"Bob":"k"},"recipients":["Bob"],` +
		`"timestamp":"2025-01-02T03:04:05.678Z","isUnread":true}`
)

func TestAnswersThatKeepTheContractPass(t *testing.T) {
	c, err := newContract(api.OpenAPI)
	require.NoError(t, err)
	for name, x := range map[string]exchange{
		"a poll that timed out": answered("GET", "/api/messages/poll", 200, goodTimeout),
		"an older client's":     answered("GET", "/api/messages/poll", 200, `{"type":"timeout"}`),
		"a run of messages":     answered("GET", "/api/messages/poll", 200, `{"type":"messages","messages":[`+aMessage+`],"skipped":[6],"cursor":"a1.7"}`),
		"a message":             answered("GET", "/api/messages/6733a0c41f2e9b7d5c8a4e10", 200, aMessage),
		"a fault":               answered("GET", "/api/messages/6733a0c41f2e9b7d5c8a4e10", 404, goodFault),
		"no such path":          answered("GET", "/nowhere", 404, `{"message":"m","code":"not_found","requestId":"r1"}`),
		"no such method":        with(answered("PUT", "/api/health", 405, `{"message":"m","code":"method_not_allowed","requestId":"r1"}`), "Allow", "GET"),
		"a method in another case": with(answered("get", "/api/health", 405,
			`{"message":"m","code":"method_not_allowed","requestId":"r1"}`), "Allow", "GET"),
		"a stream": with(exchange{method: "GET", path: "/api/messages/stream", status: 200, header: answered("", "", 0, "").header}, "Content-Type", "text/event-stream"),
		"what is left of a quota": with(answered("GET", "/api/messages/poll", 200, goodTimeout),
			"RateLimit", "limit=10, remaining=9, reset=900"),
		"a literal path before a parameter": answered("GET", "/api/messages/history", 200,
			`{"messages":[`+aMessage+`],"totalPages":1,"currentPage":1,"totalMessages":1,"approximate":false,"before":null}`),
	} {
		t.Run(name, func(t *testing.T) { require.NoError(t, c.check(x)) })
	}
}

func TestAnswersThatBreakTheContractFail(t *testing.T) {
	c, err := newContract(api.OpenAPI)
	require.NoError(t, err)
	poll := func(status int, body string) exchange { return answered("GET", "/api/messages/poll", status, body) }
	limited := poll(429, `{"message":"m","code":"rate_limited","requestId":"r1"}`)
	for name, row := range map[string]struct {
		x    exchange
		want string
	}{
		"a status that the route does not have":  {poll(202, goodTimeout), "no status 202"},
		"a property too many":                    {poll(200, `{"type":"timeout","cursor":"a.1","extra":1}`), "schema"},
		"a property too few":                     {poll(200, `{"type":"reset"}`), "schema"},
		"a type that is none of the four":        {poll(200, `{"type":"messages!","cursor":"a.1"}`), "schema"},
		"another type's property":                {poll(200, `{"type":"reset","cursor":"a.1","skipped":[1]}`), "schema"},
		"a cursor without an epoch":              {poll(200, `{"type":"timeout","cursor":"1"}`), "schema"},
		"no message":                             {poll(200, `{"type":"messages","messages":[],"cursor":"a.1"}`), "schema"},
		"another recipient's wrapped key":        {poll(200, `{"type":"messages","messages":[`+strings.Replace(aMessage, `"Bob":"k"`, `"Bob":"k","Cid":"k"`, 1)+`],"cursor":"a.7"}`), "schema"},
		"an id that is none":                     {poll(200, `{"type":"messages","messages":[`+strings.Replace(aMessage, `6733a0c41f2e9b7d5c8a4e10`, `1`, 2)+`],"cursor":"a.7"}`), "schema"},
		"a time without milliseconds":            {poll(200, `{"type":"messages","messages":[`+strings.Replace(aMessage, `.678Z`, `Z`, 1)+`],"cursor":"a.7"}`), "schema"},
		"a time that is none":                    {poll(200, `{"type":"messages","messages":[`+strings.Replace(aMessage, `2025-01-02T`, `2025-13-02T`, 1)+`],"cursor":"a.7"}`), "schema"},
		"a code of another route":                {poll(400, `{"message":"m","code":"weak_password","field":"f","requestId":"r1"}`), "schema"},
		"a 400 that names no field":              {poll(400, `{"message":"m","code":"invalid_field","requestId":"r1"}`), "schema"},
		"a code that is none":                    {with(poll(401, `{"message":"m","code":"go_away","requestId":"r1"}`), "WWW-Authenticate", "Bearer"), "schema"},
		"another request's id":                   {poll(401, `{"message":"m","code":"no_token","requestId":"r2"}`), "requestId"},
		"no way to authenticate":                 {poll(401, `{"message":"m","code":"no_token","requestId":"r1"}`), "WWW-Authenticate"},
		"no time to retry after":                 {limited, "Retry-After"},
		"a time to retry after that is no time":  {with(limited, "Retry-After", "soon"), "Retry-After"},
		"a time to retry after that has passed":  {with(limited, "Retry-After", "0"), "Retry-After"},
		"a quota in another form":                {with(poll(200, goodTimeout), "RateLimit", "10"), "RateLimit"},
		"no request id":                          {with(poll(200, goodTimeout), "X-Request-ID", ""), "X-Request-ID"},
		"an answer that may be stored":           {with(poll(200, goodTimeout), "Cache-Control", "public"), "Cache-Control"},
		"an answer that may be sniffed":          {with(poll(200, goodTimeout), "X-Content-Type-Options", ""), "X-Content-Type-Options"},
		"a page instead of JSON":                 {with(poll(200, "<p>"), "Content-Type", "text/html"), "text/html"},
		"JSON that is none":                      {poll(200, `{"type":"timeout"`), "EOF"},
		"more than one value":                    {poll(200, `{"type":"timeout"} {}`), "poll"},
		"success where no path is":               {answered("GET", "/api/messages", 200, `{}`), "no such path"},
		"success where no method is":             {answered("PUT", "/api/messages/poll", 200, `{}`), "want 405"},
		"405 without the methods that there are": {answered("PUT", "/api/health", 405, `{"message":"m","code":"method_not_allowed","requestId":"r1"}`), "Allow"},
		"a body that was accepted and should not have been": {func() exchange {
			x := answered("POST", "/api/auth/verify", 401, `{"valid":false}`)
			x.status, x.body = 200, []byte(`{"valid":true,"username":"Ann","expiresAt":"2025-01-02T03:04:05.678Z"}`)
			x.request = []byte(`{"token":5}`)
			return x
		}(), "accepted a body"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, c.check(row.x), row.want) })
	}
}

func TestWhatWasNotSeenIsReported(t *testing.T) {
	c, err := newContract(api.OpenAPI)
	require.NoError(t, err)
	before := c.unseen(nil)
	require.ErrorContains(t, before, "get /api/messages/poll was never")
	require.ErrorContains(t, before, "code message_not_found")

	require.NoError(t, c.check(answered("GET", "/api/messages/poll", 200, goodTimeout)))
	require.NoError(t, c.check(answered("GET", "/api/messages/6733a0c41f2e9b7d5c8a4e10", 404, goodFault)))
	after := c.unseen(map[api.Code]bool{api.CodeDraining: true})
	require.NotContains(t, after.Error(), "get /api/messages/poll was never")
	require.NotContains(t, after.Error(), "code message_not_found")
	require.NotContains(t, after.Error(), "code draining")
	require.ErrorContains(t, after, "code at_capacity")
}
