package httpapi

import (
	"context"
	"errors"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

// Limits bound attempts twice: per name and address, so that nobody can lock a user out by trying passwords from elsewhere, and,
// more widely, per address, so that names cannot be tried one after the other.
type Limits struct {
	PerName, PerAddress ratelimit.Limiter
}

// during counts an attempt on a name, does it, and takes the count back if the attempt was refused before a password was checked: what
// the server cannot or does not want to do must not use up an honest user's quota. It is counted first, so that no more attempts are under
// way than the quota has. Successful attempts count, too: otherwise a login to one's own account would let an attacker go on guessing.
func (l Limits) during(c *gin.Context, username string, do func() error) error {
	counted, err := l.count(c, username)
	if err != nil {
		return err
	}
	if err = do(); refused(err) {
		counted.giveBack(c)
	}
	return err
}

// count counts an attempt, and tells the client about the limit that it is closer to. An attempt that exceeds one quota does not count
// against the other.
func (l Limits) count(c *gin.Context, username string) (counted counts, err error) {
	ctx, from := c.Request.Context(), httpserver.Network(c.ClientIP())
	address, err := l.PerAddress.Allow(ctx, from)
	if err != nil {
		return nil, err
	}
	if !address.Allowed {
		return nil, httpserver.ApplyRateLimit(c, address)
	}
	counted = counts{{l.PerAddress, from}}
	key := nameKey(username) + "|" + from
	name, err := l.PerName.Allow(ctx, key)
	if err != nil || !name.Allowed {
		counted.giveBack(c)
		if err == nil {
			err = httpserver.ApplyRateLimit(c, name)
		}
		return nil, err
	}
	counted = append(counted, count{l.PerName, key})
	if name.Limit > 0 && address.Limit > 0 && address.Remaining < name.Remaining {
		name = address
	}
	return counted, httpserver.ApplyRateLimit(c, name)
}

// refused reports whether no wrong password can have been checked.
func refused(err error) bool {
	for _, before := range []error{
		password.ErrAtCapacity, accounts.ErrTooManyGuesses, ratelimit.ErrUnavailable, store.ErrUnavailable, revocation.ErrUnavailable,
	} {
		if errors.Is(err, before) {
			return true
		}
	}
	return false
}

// count is what one limiter has counted, and counts what all have.
type (
	count struct {
		limiter ratelimit.Limiter
		key     string
	}
	counts []count
)

// giveBack takes the counts back, and what the client was told about them. A limiter that is away counts that itself, and keeps the count.
func (all counts) giveBack(c *gin.Context) {
	ctx := context.WithoutCancel(c.Request.Context())
	for _, one := range all {
		_ = one.limiter.GiveBack(ctx, one.key, 1)
	}
	httpserver.ForgetRateLimit(c)
}

// nameKey returns one common key for all invalid names, so that no key is longer than a name.
func nameKey(username string) string {
	if !api.ValidUsername(username) {
		return ""
	}
	return store.Canonical(username)
}
