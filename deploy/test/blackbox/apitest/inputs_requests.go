package apitest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sealpost/sealpost/pkg/api"
)

// parameters are invalid queries, on each route.
func (w *world) parameters() []badRequest {
	var rows []badRequest
	add := func(path, name string, values ...string) {
		for _, value := range values {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			rows = append(rows, badRequest{
				fmt.Sprintf("%s%s%s=%s", path, sep, name, value[:min(len(value), 40)]),
				call{path: path + sep + name + "=" + url.QueryEscape(value), token: w.ann.token},
				http.StatusBadRequest, api.CodeInvalidField, name,
			})
		}
	}
	noNumber := []string{"", "x", "-1", "1.5", "1e1", "0x1", " 1", "1 ", "٣", "1\x00", "null", "9223372036854775808", strings.Repeat("9", 5000)}
	cursors := []string{
		"", "x", "-1", "-1.5", "1.5", "1,5", "1e3", "+1", " 1", "1 ", "01", "00", "0x1", "1_000", "١", "9223372036854775808", strings.Repeat("9", 5000), "null", "LATEST", "latest ",
		"e.", ".1", ".", "e.-1", "e.+1", "e.01", "e.1.1", "E.1", "e!.1", "e .1", "e.x", "e.9223372036854775808", strings.Repeat("e", 65) + ".1", "1\x00", "\xff",
	}
	add("/api/messages/poll", "after", cursors...)
	add("/api/messages/stream", "after", cursors...)
	add("/api/messages/poll?after=0", "limit", append(noNumber, "0", "1001")...)
	add("/api/messages/poll?after=0", "wait", append(noNumber, "61", "0.5")...)
	for _, path := range []string{"/api/messages/history", "/api/messages/all-messages"} {
		add(path, "limit", append(noNumber, "0", "201")...)
		add(path, "page", append(noNumber, "0")...)
		add(path, "before", append(noNumber, "0")...)
	}
	keyHistory := "/api/keys/user/" + w.bob.name + "/history"
	add(keyHistory, "limit", append(noNumber, "0", "201")...)
	add(keyHistory, "before", append(noNumber, "0", "2147483648")...)
	for _, path := range []string{"/api/keys/users", "/api/users/public-keys"} {
		add(path, "limit", append(noNumber, "0", "1001")...)
		add(path, "after", "a", "ab", strings.Repeat("a", 31), "a.b", "$gt", "a b", "..", "a\x00b", "\xff", "ä")
	}
	return rows
}

func (w *world) messageIDs() []badRequest {
	var rows []badRequest
	for _, id := range []string{
		"x", "0", "-1", w.hidden[:23], w.hidden + "0", "0123456789abcdef0123456g", strings.Repeat("0", 24), strings.Repeat("f", 24), "0123456789abcdef01234567",
		strings.Repeat("0", 5000), "null", "undefined", "[object Object]", "$ne", "..", "*", "ä", w.hidden[:22] + "\x00\x00", "0x" + w.hidden[:22], w.hidden,
	} {
		path := "/api/messages/" + url.PathEscape(id)
		name := id[:min(len(id), 40)]
		rows = append(rows,
			badRequest{"message " + name, call{path: path, token: w.ann.token}, http.StatusNotFound, api.CodeMessageNotFound, ""},
			badRequest{"read " + name, call{method: http.MethodPost, path: path + "/read", token: w.ann.token}, http.StatusNotFound, api.CodeMessageNotFound, ""},
		)
	}
	return rows
}

// tokens are missing and malformed tokens, on each route that needs one. The claims about tokens cover forged ones.
func (w *world) tokens() []badRequest {
	var rows []badRequest
	for _, route := range guarded {
		method, path, _ := strings.Cut(route, " ")
		for header, code := range map[string]api.Code{
			"": api.CodeNoToken, "Basic dTpw": api.CodeNoToken, "Bearer": api.CodeNoToken, w.ann.token: api.CodeNoToken,
			"Bearer null": api.CodeInvalidToken, "Bearer undefined": api.CodeInvalidToken, "Bearer a.b.c": api.CodeInvalidToken,
			"Bearer " + w.ann.token + " x": api.CodeInvalidToken, "Bearer " + w.ann.token[1:]: api.CodeInvalidToken,
			"Bearer " + strings.ToLower(w.ann.token): api.CodeInvalidToken,
		} {
			c := call{method: method, path: path, header: map[string]string{"Authorization": header}}
			rows = append(rows, badRequest{route + " with " + quoted(header[:min(len(header), 20)]), c, http.StatusUnauthorized, code, ""})
		}
	}
	return rows
}

// paths are paths that are not served.
func (w *world) paths() []badRequest {
	var rows []badRequest
	for _, path := range []string{
		"/", "/api", "/api/", "/api/health/", "/api//health", "//api/health", "/API/health", "/api/Health", "/api/health.json", "/api/auth", "/api/auth/",
		"/api/auth/login/", "/api/keys", "/api/keys/user", "/api/keys/user/", "/api/keys/user/a%2Fb", "/api/keys/user/..%2F..%2Fhealth", "/api/keys/user/a/b/c",
		"/api/messages", "/api/messages/", "/api/messages/" + w.hidden + "/", "/api/messages/" + w.hidden + "/read/", "/api/messages/" + w.hidden + "%2Fx",
		"/api/messages/" + w.hidden + "/unread", "/api/users", "/api/users/" + w.bob.name, "/metrics", "/livez", "/readyz", "/debug/pprof/", "/debug/pprof/heap",
		"/.well-known", "/.well-known/jwks.json/", "/.env", "/.git/config", "/api/../health", "/api/%2e%2e/health", "/index.html", "/favicon.ico",
		"/api/openapi.json", "/api/messages/%2e%2e/%2e%2e/health", "/%00", "/api/health%00", "/api/health%20", "/api;/health",
	} {
		rows = append(rows, badRequest{"GET " + path, call{path: path, token: w.ann.token}, http.StatusNotFound, api.CodeNotFound, ""})
	}
	for _, path := range []string{"/", "/api/auth/signup", "/api/messages/send/", "/api/messages/a/b/read", "/api/keys/update-key"} {
		rows = append(rows, badRequest{"POST " + path, call{path: path, token: w.ann.token, body: []byte("{}")}, http.StatusNotFound, api.CodeNotFound, ""})
	}
	return rows
}

// methods are methods that their paths do not allow.
func (w *world) methods() []badRequest {
	var rows []badRequest
	add := func(path string, methods ...string) {
		for _, method := range methods {
			rows = append(rows, badRequest{
				method + " " + path, call{method: method, path: path, token: w.ann.token}, http.StatusMethodNotAllowed, api.CodeMethodNotAllowed, "",
			})
		}
	}
	for _, path := range []string{"register", "login", "verify", "logout", "logout-all", "password"} {
		add("/api/auth/"+path, http.MethodGet, http.MethodPut, http.MethodDelete)
	}
	for _, path := range []string{
		"/api/auth/profile", "/api/keys/server-public", "/api/keys/user/" + w.bob.name, "/api/keys/user/" + w.bob.name + "/history", "/api/keys/users",
		"/api/users/public-keys", "/api/messages/history", "/api/messages/all-messages", "/api/messages/status", "/api/messages/poll", "/api/messages/stream",
		"/api/messages/" + w.hidden, "/api/health", "/api/openapi.yaml", "/.well-known/jwks.json",
	} {
		add(path, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete)
	}
	add("/api/users/update-key", http.MethodGet, http.MethodPut)
	add("/api/messages/send", http.MethodPut, http.MethodDelete, http.MethodPatch)
	add("/api/messages/"+w.hidden+"/read", http.MethodGet, http.MethodPut, http.MethodDelete)
	add("/api/health", "BREW", "get", "OPTIONS", "TRACE", "PROPFIND")
	return rows
}

func (w *world) contentTypes() []badRequest {
	var rows []badRequest
	for _, r := range w.bodyRoutes() {
		for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"} {
			c := w.post(r, r.body("", ""))
			c.header = map[string]string{"Content-Type": contentType}
			rows = append(rows, badRequest{
				r.path + ": content type " + quoted(contentType), c, http.StatusUnsupportedMediaType, api.CodeUnsupportedMediaType, "",
			})
		}
	}
	return rows
}
