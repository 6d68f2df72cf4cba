package api

import (
	"net/http"
	"strconv"
	"strings"
)

// readCookie is the name of the cookie that a ReadCookie travels in.
const readCookie = "sealpost_read"

// ReadCookie shows what a client that keeps no cursor has certainly received. The server sets it with each answer to such a client, and at
// login; a client with a cookie jar (a browser, most HTTP sessions) sends back the last one that has reached it. It carries no right.
type ReadCookie struct {
	// Session is the session that it is for: a jar may outlive one.
	Session string
	// Epoch and Position are as in store.SessionCursor.
	Epoch    string
	Position int64
}

// String formats the cookie as a Set-Cookie header. The browser forgets it when it is closed: a lost one is as if there were none.
func (r ReadCookie) String() string {
	c := http.Cookie{ //nolint:gosec // not Secure: it carries no right, and clients of a server without TLS need it too
		Name: readCookie, Value: r.Session + "." + r.Epoch + "." + strconv.FormatInt(r.Position, 10),
		Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	return c.String()
}

// ParseReadCookie finds the cookie of a session in a request. Anything that is not one counts as none.
func ParseReadCookie(r *http.Request, session string) (ReadCookie, bool) {
	for _, c := range r.CookiesNamed(readCookie) {
		parts := strings.Split(c.Value, ".")
		if len(parts) != 3 || parts[0] != session {
			continue
		}
		position, err := strconv.ParseInt(parts[2], 10, 64)
		if err == nil && position >= 0 {
			return ReadCookie{session, parts[1], position}, true
		}
	}
	return ReadCookie{}, false
}
