package httpserver

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/ratelimit"
)

// rateLimitHeader is RateLimit in net/http's spelling.
const rateLimitHeader = "Ratelimit"

var rateErrors = ErrorTable{{ratelimit.ErrUnavailable, UnavailableAnswer("the rate limiter")}}

// LimitUser bounds how often each user calls the routes it precedes. It must come after RequireToken.
func LimitUser(l ratelimit.Limiter) gin.HandlerFunc {
	return limit(l, func(c *gin.Context) string { return Caller(c).Subject })
}

// LimitAddress bounds how often the routes it precedes are called from each address (see Network). It is for routes that need no token: l
// should be an in-process limiter, so that a stranger's request costs no round trip.
func LimitAddress(l ratelimit.Limiter) gin.HandlerFunc {
	return limit(l, func(c *gin.Context) string { return Network(c.ClientIP()) })
}

func limit(l ratelimit.Limiter, key func(c *gin.Context) string) gin.HandlerFunc {
	return func(c *gin.Context) {
		r, err := l.Allow(c.Request.Context(), key(c))
		if err == nil {
			err = ApplyRateLimit(c, r)
		}
		if err != nil {
			rateErrors.Write(c, err)
		}
	}
}

// ApplyRateLimit tells the client how much of its quota is left, in the RateLimit header (draft-ietf-httpapi-ratelimit-headers-07:
// limit, remaining, seconds to reset), and returns the 429 if nothing is left. A Result without a Limit (limits are off) sets no
// header.
func ApplyRateLimit(c *gin.Context, r ratelimit.Result) error {
	if r.Limit > 0 {
		b := append(make([]byte, 0, 64), "limit="...)
		b = strconv.AppendInt(b, int64(r.Limit), 10)
		b = append(b, ", remaining="...)
		b = strconv.AppendInt(b, int64(r.Remaining), 10)
		b = append(b, ", reset="...)
		b = strconv.AppendInt(b, wholeSeconds(r.ResetAfter), 10)
		c.Writer.Header()[rateLimitHeader] = []string{string(b)}
	}
	if r.Allowed {
		return nil
	}
	return TooManyRequests(r.RetryAfter)
}

// ForgetRateLimit takes back what ApplyRateLimit told the client: the request was not counted in the end.
func ForgetRateLimit(c *gin.Context) { delete(c.Writer.Header(), rateLimitHeader) }

// TooManyRequests returns a 429 for a client that must wait. The jitter keeps clients that were refused together from returning together.
func TooManyRequests(wait time.Duration) *api.Error {
	e := api.New(http.StatusTooManyRequests, api.CodeRateLimited, "too many requests: try again later")
	e.RetryAfter = max(wait, time.Second) + RetryAfter(time.Second) - time.Second
	return e
}

func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
