package simulation

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

func sessionKey(user, id string) string { return user + "/" + id }

// OpenSession implements store.Sessions.
func (h *handle) OpenSession(ctx context.Context, user, id string, _ time.Time) error {
	e := h.e.data
	return h.write(ctx, "OpenSession", id, 1, func(int) {
		furthest, _ := e.session(user, e.last)
		if _, there := e.session(sessionKey(user, id), e.last); !there {
			began := store.SessionCursor{Epoch: furthest.Epoch, Position: furthest.Position}
			e.putSession(sessionKey(user, id), began)
			h.e.w.sessionsBegan[sessionKey(user, id)] = began
		}
	})
}

func begunKey(user, id, epoch string) string { return sessionKey(user, id+"/"+epoch) }

// BeginEpoch implements store.Sessions.
func (h *handle) BeginEpoch(ctx context.Context, user, id, epoch string, _ time.Time) error {
	e := h.e.data
	return h.write(ctx, "BeginEpoch", id, 1, func(int) { e.putSession(begunKey(user, id, epoch), store.SessionCursor{Epoch: epoch}) })
}

// BegunEpoch implements store.Sessions.
func (h *handle) BegunEpoch(ctx context.Context, user, id, epoch string) (begun bool, err error) {
	err = h.readLast(ctx, "BegunEpoch", id, func(e *data, v version) { _, begun = e.session(begunKey(user, id, epoch), v) })
	return begun, err
}

// SessionCursor implements store.Sessions.
func (h *handle) SessionCursor(ctx context.Context, user, id string) (c store.SessionCursor, err error) {
	err = h.read(ctx, "SessionCursor", id, func(e *data, v version) {
		var there bool
		if c, there = e.session(sessionKey(user, id), v); !there {
			furthest, _ := e.session(user, v)
			c = store.SessionCursor{Epoch: furthest.Epoch, Position: furthest.Position}
		}
	})
	return c, err
}

// OfferSession implements store.Sessions.
func (h *handle) OfferSession(ctx context.Context, user, id string, seen store.SessionCursor, position int64) (done bool, err error) {
	e := h.e.data
	err = h.write(ctx, "OfferSession", id, 1, func(int) {
		now, there := e.session(sessionKey(user, id), e.last)
		if done = !there || now == seen; done && there {
			now.Offered, now.Offers = position, now.Offers+1
			e.putSession(sessionKey(user, id), now)
		}
	})
	return done && err == nil, err
}

// WithdrawOffer implements store.Sessions.
func (h *handle) WithdrawOffer(ctx context.Context, user, id string, seen store.SessionCursor) error {
	e := h.e.data
	return h.write(ctx, "WithdrawOffer", id, 1, func(int) {
		if now, there := e.session(sessionKey(user, id), e.last); there && now.Offers == seen.Offers+1 {
			now.Offered = 0
			e.putSession(sessionKey(user, id), now)
		}
	})
}

// AdvanceSession implements store.Sessions.
func (h *handle) AdvanceSession(ctx context.Context, user, id, epoch string, position int64) error {
	return h.move(ctx, "AdvanceSession", user, id, epoch, position, true)
}

// ResetSession implements store.Sessions.
func (h *handle) ResetSession(ctx context.Context, user, id, epoch string, position int64) error {
	return h.move(ctx, "ResetSession", user, id, epoch, position, false)
}

// move moves the cursors of a session and of its account forward if they are of the same epoch, and else replaces them. If any is true,
// cursors from before epochs were kept count as of the same epoch.
func (h *handle) move(ctx context.Context, operation, user, id, epoch string, position int64, any bool) error {
	e := h.e.data
	return h.write(ctx, operation, id, 2, func(i int) {
		key := []string{sessionKey(user, id), user}[i]
		c, there := e.session(key, e.last)
		switch {
		case !there && i == 0:
			return
		case c.Epoch == epoch || (any && c.Epoch == ""):
			c.Position = max(c.Position, position)
		default:
			h.w.rewound(user, id, c.Epoch, epoch, position)
			c.Position, c.Offered = position, 0
		}
		c.Epoch = epoch
		e.putSession(key, c)
	})
}
