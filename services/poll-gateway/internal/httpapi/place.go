package httpapi

import (
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/lru"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/cursor"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// place is where a client asks to continue.
type place struct {
	position int64
	// epoch is the log's epoch. known is false for a position that is of another epoch, or may be.
	epoch string
	known bool
}

// place parses the cursor in the parameter called name.
func (a *API) place(c *gin.Context, name, text string) (place, error) {
	ctx := c.Request.Context()
	at, err := cursor.Parse(text)
	latest := text == cursor.Latest
	if err != nil && !latest {
		return place{}, api.InvalidField(name, "must be a cursor that a poll returned, a position or "+cursor.Latest)
	}
	p := place{position: at.Position, known: true}
	if latest {
		p.position = gateway.FromHead
	}
	if at.Epoch != "" {
		if p.known, err = a.Gateway.Epochs().Is(ctx, at.Epoch); err != nil {
			return place{}, err
		}
		if p.known {
			p.epoch = at.Epoch
			return p, nil
		}
	}
	if p.epoch, err = a.Gateway.Epochs().Current(ctx); err != nil {
		return place{}, err
	}
	if at.Epoch == "" && store.RestoredEpoch(p.epoch) {
		p.known, err = a.ofEpoch(c, p)
	}
	return p, err
}

// ofEpoch reports whether a bare position is of the present epoch, which is not the log's first. It may be from before the restore, and
// then stand for other messages. A session that has begun at the beginning or the head counts on from there.
func (a *API) ofEpoch(c *gin.Context, at place) (bool, error) {
	ctx, caller := c.Request.Context(), httpserver.Caller(c)
	key := begunSession{caller.Subject, caller.SessionID, at.epoch}
	if a.begun.holds(key) {
		return true, nil
	}
	if at.position > 0 {
		begun, err := a.Sessions.BegunEpoch(ctx, key.user, key.session, key.epoch)
		if begun {
			a.begun.add(key)
		}
		return begun, err
	}
	err := a.Sessions.BeginEpoch(ctx, key.user, key.session, key.epoch, caller.AcceptedUntil())
	if err != nil && !a.Alone {
		return false, err // another node would answer the next position with a reset
	}
	if err != nil { // the disk is full, say: reading goes on, and this node remembers while it lives
		a.Log.WarnContext(ctx, "it was not recorded that a session has begun after a restore", "error", err.Error())
	}
	a.begun.add(key)
	return true, nil
}

type begunSession struct{ user, session, epoch string }

// maxBegun is how many sessions a node remembers to have begun; for others it asks the store. Each takes some 200 bytes.
const maxBegun = 1 << 14

// begunSessions is a cache of begunSession. Its zero value holds nothing; few deployments need it.
type begunSessions struct {
	once  sync.Once
	cache *lru.Cache[begunSession, struct{}]
}

func (b *begunSessions) list() *lru.Cache[begunSession, struct{}] {
	b.once.Do(func() { b.cache = lru.New[begunSession, struct{}](maxBegun) })
	return b.cache
}

func (b *begunSessions) holds(s begunSession) bool { return b.list().Contains(s) }

func (b *begunSessions) add(s begunSession) { b.list().Add(s, struct{}{}) }
