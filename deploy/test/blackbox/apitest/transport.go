package apitest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// defaultBody is the maximum body size of routes that have no other.
const defaultBody = 64 << 10

func transport(d *deployment) []claim {
	return []claim{
		{"takes over a request id and finds it in the error", func(t *testing.T) {
			for _, id := range []string{"a", "Trace-1:2.3_4", strings.Repeat("x", 64)} {
				header := map[string]string{"X-Request-ID": id}
				require.Equal(t, id, d.must(t, call{path: "/api/health", header: header}).header.Get("X-Request-ID"))
				fault := d.must(t, call{path: "/api/auth/profile", header: header}).refused(t, http.StatusUnauthorized, api.CodeNoToken)
				require.Equal(t, id, fault.RequestID)
			}
		}},
		{"makes a request id of its own where there is none, or one that could forge a log", func(t *testing.T) {
			seen := map[string]bool{}
			for _, id := range []string{
				"", "a b", "<script>", "é", `"`, "a;b", "a\tb", "{}", "%0a", strings.Repeat("x", 65), strings.Repeat("x", 5000),
			} {
				own := d.must(t, call{path: "/api/health", header: map[string]string{"X-Request-ID": id}}).header.Get("X-Request-ID")
				require.NotEqual(t, id, own)
				require.False(t, seen[own], "an id is given twice")
				seen[own] = true
			}
		}},
		{"says nothing about what it is made of, and lets nothing be rendered", func(t *testing.T) {
			for _, path := range []string{"/api/health", "/api/auth/profile", "/nowhere"} {
				header := d.must(t, call{path: path}).header
				require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
				require.Contains(t, header.Get("Strict-Transport-Security"), "max-age=")
				require.Empty(t, header.Get("X-Powered-By"))
				require.Empty(t, header.Get("Access-Control-Allow-Origin"))
				require.Empty(t, header.Get("Set-Cookie"))
			}
		}},
		{"answers health to anybody", func(t *testing.T) {
			h := into[api.HealthResponse](t, d.must(t, call{path: "/api/health"}), http.StatusOK)
			require.Equal(t, api.Healthy, h.Status)
			require.Positive(t, h.Uptime)
			require.Positive(t, h.Memory.HeapUsed)
		}},
		{"answers status with what all nodes are and hold", func(t *testing.T) {
			s := into[api.StatusResponse](t, d.newUser(t, "Ann").get(t, "/api/messages/status"), http.StatusOK)
			require.Equal(t, "online", s.Status)
			require.Positive(t, s.Stats.Uptime)
			var capacity, open int64
			for _, n := range s.Stats.Nodes {
				capacity, open = capacity+n.Capacity, open+n.ActiveConnections
			}
			require.Positive(t, capacity)
			require.Equal(t, capacity, s.Stats.Capacity.Max)
			require.Equal(t, open, s.Stats.ActiveConnections)
			require.Equal(t, open, s.Stats.Capacity.Used)
			require.InDelta(t, float64(open)*100/float64(capacity), s.Stats.Capacity.Percent, 0.01)
		}},
		{"serves this document", func(t *testing.T) {
			a := d.must(t, call{path: "/api/openapi.yaml"})
			require.Equal(t, string(api.OpenAPI), string(a.body))
		}},
		{"takes a body that is declared as JSON, with or without a charset", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for contentType, good := range map[string]bool{
				"application/json": true, "application/json; charset=utf-8": true, "Application/JSON": true, "application/json;charset=UTF-8": true,
				"": false, "text/plain": false, "text/json": false, "application/x-www-form-urlencoded": false, "multipart/form-data; boundary=x": false,
				"application/jsonp": false, "application/json-patch+json": false, "application/json, text/plain": false, "*/*": false, ";": false,
			} {
				a := d.must(t, call{
					path: "/api/auth/verify", json: api.VerifyRequest{Token: u.token}, header: map[string]string{"Content-Type": contentType},
				})
				if !good {
					a.refused(t, http.StatusUnsupportedMediaType, api.CodeUnsupportedMediaType)
					continue
				}
				require.Equal(t, http.StatusOK, a.status, contentType)
			}
		}},
		{"takes bodies of up to 64 KiB, whether or not they say how long they are", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			text, err := json.Marshal(api.VerifyRequest{Token: u.token})
			require.NoError(t, err)
			body := slices.Concat(text, bytes.Repeat([]byte(" "), defaultBody-len(text)))
			for _, chunked := range []bool{false, true} {
				require.Equal(t, http.StatusOK, d.must(t, call{path: "/api/auth/verify", body: body, chunked: chunked}).status)
				d.must(t, call{path: "/api/auth/verify", body: append(body, ' '), chunked: chunked}).
					refused(t, http.StatusRequestEntityTooLarge, api.CodeBodyTooLarge)
			}
		}},
		{"answers any other path and method as what it is", func(t *testing.T) {
			d.must(t, call{path: "/"}).refused(t, http.StatusNotFound, api.CodeNotFound)
			a := d.must(t, call{method: http.MethodPut, path: "/api/health"})
			a.refused(t, http.StatusMethodNotAllowed, api.CodeMethodNotAllowed)
			require.Equal(t, "GET, HEAD", a.header.Get("Allow"))
			a = d.must(t, call{method: http.MethodDelete, path: "/api/messages/0123456789abcdef01234567/read"})
			a.refused(t, http.StatusMethodNotAllowed, api.CodeMethodNotAllowed)
			require.Equal(t, "POST", a.header.Get("Allow"))
		}},
		{"waits for a body that keeps coming, and no longer", func(t *testing.T) {
			u, err := url.Parse(d.BaseURL)
			require.NoError(t, err)
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "tcp", u.Host)
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			_, err = io.WriteString(conn, "POST /api/auth/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			text, err := io.ReadAll(res.Body)
			require.NoError(t, errors.Join(err, res.Body.Close()))
			a := answer{status: res.StatusCode, header: res.Header, body: text}
			a.refused(t, http.StatusRequestTimeout, api.CodeRequestTimeout)
			require.NoError(t, d.contract.check(exchange{method: http.MethodPost, path: "/api/auth/verify", status: a.status, header: a.header, body: a.body}))
		}},
		{"takes HEAD wherever it takes GET, and without origins that may call no OPTIONS", func(t *testing.T) {
			a := d.must(t, call{method: http.MethodHead, path: "/api/health"})
			require.Equal(t, http.StatusOK, a.status)
			require.Empty(t, a.body)
			a = d.must(t, call{method: http.MethodHead, path: "/api/auth/login"})
			require.Equal(t, http.StatusMethodNotAllowed, a.status)
			a = d.must(t, call{method: http.MethodOptions, path: "/api/messages/send", header: map[string]string{
				"Origin": "https://app.example", "Access-Control-Request-Method": "POST",
			}})
			a.refused(t, http.StatusMethodNotAllowed, api.CodeMethodNotAllowed)
			require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
		}},
	}
}
