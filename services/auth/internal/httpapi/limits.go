package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
)

// Limits bound attempts twice: per name and address, so that nobody can lock a user out by trying passwords from elsewhere, and,
// more widely, per address, so that names cannot be tried one after the other.
type Limits struct {
	PerName, PerAddress ratelimit.Limiter
}

// allow counts an attempt on a name, and tells the client about the limit that it is closer to. Successful attempts count, too:
// otherwise a login to one's own account would let an attacker go on guessing. An attempt that exceeds the address's quota does
// not count against the name.
func (l Limits) allow(c *gin.Context, username string) error {
	ctx, from := c.Request.Context(), httpserver.Network(c.ClientIP())
	address, err := l.PerAddress.Allow(ctx, from)
	if err != nil {
		return err
	}
	if !address.Allowed {
		return httpserver.ApplyRateLimit(c, address)
	}
	name, err := l.PerName.Allow(ctx, nameKey(username)+"|"+from)
	if err != nil {
		return err
	}
	if name.Allowed && name.Limit > 0 && address.Limit > 0 && address.Remaining < name.Remaining {
		return httpserver.ApplyRateLimit(c, address)
	}
	return httpserver.ApplyRateLimit(c, name)
}

// nameKey returns one common key for all invalid names, so that no key is longer than a name.
func nameKey(username string) string {
	if !api.ValidUsername(username) {
		return ""
	}
	return store.Canonical(username)
}
