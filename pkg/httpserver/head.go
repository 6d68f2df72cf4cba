package httpserver

import (
	"context"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

type headKey struct{}

// headAsGet serves HEAD like GET, as RFC 9110 (section 9.1) requires of every server; net/http leaves out the body. The metrics count it
// as a GET.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			r = r.WithContext(context.WithValue(r.Context(), headKey{}, true))
			r.Method = http.MethodGet
		}
		next.ServeHTTP(w, r)
	})
}

// IsHead reports whether the client has asked for the head of an answer only. A handler whose GET waits, or changes something, must ask.
func IsHead(c *gin.Context) bool { return c.Request.Context().Value(headKey{}) != nil }

// allowHead adds HEAD to an Allow header that has GET.
func allowHead(h http.Header) {
	allowed := h.Get("Allow")
	for method := range strings.SplitSeq(allowed, ",") {
		if strings.TrimSpace(method) == http.MethodGet {
			h.Set("Allow", allowed+", "+http.MethodHead)
		}
	}
}
