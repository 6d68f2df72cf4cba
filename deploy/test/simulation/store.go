package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// engine is the simulated store that all clients share. It behaves as MongoDB is documented: acknowledged writes are kept; unacknowledged
// ones may be anything.
type engine struct {
	w    *world
	data *data
	// Until down, there is no primary; until slow, calls take seconds.
	down, slow time.Time
	// stale are the old states that reads may see.
	stale []staleness
	// committed is when each content was first committed.
	committed map[string]time.Time
	// reads counts reads by process.
	reads map[int]int
}

// staleness is a period in which a node's reads may see an old state.
type staleness struct {
	place int // -1 for all
	until time.Time
	at    version
	share float64
}

// handle is one process's connection to the store. It implements store.Log, store.Sessions, store.Meta and the part of store.Keys that the
// messages service uses.
type handle struct {
	*process
	e *engine
	// of is the data that the process was started on: after a restore, writes of the processes that it stopped are dropped.
	of *data
	// Until cut, the store cannot be reached from here.
	cut time.Time
}

func away(err error) error { return fmt.Errorf("%w: %w", store.ErrUnavailable, err) }

// latency is half a round trip.
func (e *engine) latency(d *rng) time.Duration {
	low, high := 100*time.Microsecond, 3*time.Millisecond
	if e.w.plan.Shape.Far {
		low, high = 15*time.Millisecond, 35*time.Millisecond
	}
	if d.hit(0.05) {
		high = 60 * time.Millisecond
	}
	if time.Now().Before(e.slow) {
		high = 2500 * time.Millisecond
	}
	if d.hit(e.w.plan.Rates[rateSlow]) {
		e.w.count(rateSlow)
		high = 4 * time.Second
	}
	return d.between(low, high)
}

// reach waits until the call is at the store, or fails to get there.
func (h *handle) reach(ctx context.Context, d *rng) error {
	if h.w.crashes(h.process, d) {
		return away(errDead)
	}
	if err := h.await(ctx, h.e.latency(d)); err != nil {
		return away(err)
	}
	for now := time.Now(); now.Before(h.cut) || now.Before(h.e.down); now = time.Now() {
		// The driver waits for a server as long as the caller does, and checks periodically.
		if err := h.await(ctx, 50*time.Millisecond+d.between(0, 400*time.Millisecond)); err != nil {
			return away(err)
		}
	}
	if d.hit(h.w.plan.Rates[rateFail]) {
		h.w.count(rateFail)
		return away(fmt.Errorf("simulation: the connection is closed"))
	}
	return nil
}

// read reads one version, the last or an older one.
func (h *handle) read(ctx context.Context, operation, key string, see func(*data, version)) error {
	return h.readBy(ctx, h.look, operation, key, see)
}

// readLast reads the last version.
func (h *handle) readLast(ctx context.Context, operation, key string, see func(*data, version)) error {
	return h.readBy(ctx, h.lookLast, operation, key, see)
}

func (h *handle) readBy(ctx context.Context, look func(*rng, func(*data, version)), operation, key string, see func(*data, version)) error {
	d := h.rng(operation, key)
	h.w.statsMu.Lock()
	h.e.reads[h.id]++
	h.w.statsMu.Unlock()
	if err := h.reach(ctx, d); err != nil {
		return err
	}
	look(d, func(e *data, v version) {
		see(e, v)
		h.w.note("process %d reads: %s %s at %d of %d", h.id, operation, key, v, e.last)
	})
	if err := h.await(ctx, h.e.latency(d)); err != nil {
		return away(err)
	}
	return nil
}

// lookLast reads the last version.
func (h *handle) lookLast(_ *rng, see func(*data, version)) {
	h.w.engineMu.Lock()
	defer h.w.engineMu.Unlock()
	see(h.e.data, h.e.data.last)
}

// look reads one version.
func (h *handle) look(d *rng, see func(*data, version)) {
	h.w.engineMu.Lock()
	defer h.w.engineMu.Unlock()
	v := h.e.data.last
	for _, s := range h.e.stale {
		if (s.place == -1 || s.place == h.place) && time.Now().Before(s.until) && d.hit(s.share) {
			v = min(v, s.at)
			h.w.count("stale-read")
		}
	}
	see(h.e.data, v)
}

// purges returns a function that at random purges what is due under an id right before it is written.
func (h *handle) purges(id store.MessageID) func(*data, store.MessageID) {
	d := h.rng("purges", id.String())
	return func(e *data, id store.MessageID) {
		if d.hit(0.5) && e.purge(id, time.Now()) {
			h.w.count("purged-at-write")
			h.w.note("what stands under %s goes", id)
		}
	}
}

// Keep implements store.Log.
func (h *handle) Keep(ctx context.Context, m store.Message, until time.Time) error {
	e, there := h.e.data, false
	h.w.count("kept")
	purges := h.purges(m.ID)
	err := h.write(ctx, "Keep", m.ID.String(), 1, func(int) {
		purges(e, m.ID)
		there = e.keep(m, until)
		h.w.note("process %d keeps what stands under %s until %s: there %v", h.id, m.ID, until.Sub(h.w.start).Round(time.Millisecond), there)
	})
	if err == nil && !there {
		return store.ErrNotFound
	}
	return err
}

// Messages implements store.Log.
func (h *handle) Messages(ctx context.Context, ids []store.MessageID) (map[store.MessageID]store.Message, error) {
	found := make(map[store.MessageID]store.Message, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	err := h.read(ctx, "Messages", ids[0].String(), func(e *data, v version) {
		for _, id := range ids {
			if m, there := e.message(id, v); there {
				found[id] = m
			}
		}
	})
	return found, err
}

// MessagesOf implements store.Log.
func (h *handle) MessagesOf(ctx context.Context, entries []store.Entry) (map[store.MessageID]store.Message, error) {
	ids := make([]store.MessageID, len(entries))
	for i, e := range entries {
		ids[i] = e.Message
	}
	return h.Messages(ctx, ids)
}

// Decided implements store.Log.
func (h *handle) Decided(ctx context.Context, ids []store.MessageID) (map[store.MessageID]time.Time, error) {
	found := make(map[store.MessageID]time.Time, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	err := h.read(ctx, "Decided", ids[0].String(), func(e *data, v version) {
		for _, id := range ids {
			if m, there := e.message(id, v); there {
				found[id] = m.KeptUntil()
			}
		}
	})
	return found, err
}

// Entries implements store.Log.
func (h *handle) Entries(ctx context.Context, user string, after, upTo int64) (list []store.Entry, err error) {
	err = h.read(ctx, "Entries", user, func(e *data, v version) { list = e.entries(user, after, upTo, v) })
	return list, err
}

// FirstAfter implements store.Log.
func (h *handle) FirstAfter(ctx context.Context, user string, after int64) (position int64, err error) {
	err = h.read(ctx, "FirstAfter", user, func(e *data, v version) { position = e.firstAfter(user, after, v) })
	return position, err
}

// Tails implements store.Log. As package mongo does, it reads the highest marks first, and then the highest entries within their blocks; on
// Pebble all is exact. These reads are linearizable.
func (h *handle) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	blocks, tails := make(map[string]int64, len(users)), make(map[string]store.Tail, len(users))
	size := h.w.plan.Shape.BlockSize
	err := h.readLast(ctx, "Tails", users[0], func(e *data, v version) {
		for _, user := range users {
			block, since := e.block(user, v)
			var tail store.Tail
			switch {
			case h.w.plan.Shape.Standalone && block > 0:
				tail.Removed = e.inbox(user).removed(v)
			case block > 0 && time.Since(since) > 24*time.Hour && e.lastWithin(user, 0, (block-1)*size, v) == 0:
				tail.Removed = (block - 1) * size
			}
			blocks[user], tails[user] = block, tail
		}
	})
	if err != nil {
		return nil, err
	}
	err = h.readLast(ctx, "Tails", users[0], func(e *data, v version) {
		for _, user := range users {
			block, tail := blocks[user], tails[user]
			last := e.lastWithin(user, (block-1)*size, block*size, v)
			switch {
			case block == 0:
			case h.w.plan.Shape.Standalone:
				tail.Position = max(e.everHeld(user), tail.Removed)
			case last == 0 || aged(e.inbox(user).standing(last, v).value):
				tail.Position = block * size
			default:
				tail.Position = last
			}
			tails[user] = tail
		}
	})
	if err != nil {
		return nil, err
	}
	return tails, nil
}

// aged reports whether entries above e may have been removed. See package mongo.
func aged(e store.Entry) bool {
	return time.Until(e.PurgeAt) < max(10*time.Minute, min(e.PurgeAt.Sub(e.At)/2, 24*time.Hour))
}

// EntriesAt implements store.Log.
func (h *handle) EntriesAt(ctx context.Context, places []store.Place) (found []store.Entry, err error) {
	if len(places) == 0 {
		return nil, nil
	}
	err = h.read(ctx, "EntriesAt", places[0].User, func(e *data, v version) {
		for _, p := range places {
			found = append(found, e.entries(p.User, p.Position-1, p.Position, v)...)
		}
	})
	return found, err
}

// MarkRead implements store.Log. No simulated client marks messages as read.
func (h *handle) MarkRead(context.Context, store.Place, time.Time) error { return nil }

// Receipts implements store.Log. No simulated client reads anything.
func (h *handle) Receipts(ctx context.Context, _ []store.Place) (map[store.Place]time.Time, error) {
	return nil, h.read(ctx, "Receipts", "", func(*data, version) {})
}

// KeyVersions implements the part of store.Keys that the messages service uses: every user exists.
func (h *handle) KeyVersions(ctx context.Context, usernames []string) (map[string]store.UserKey, error) {
	found := make(map[string]store.UserKey, len(usernames))
	err := h.read(ctx, "KeyVersions", usernames[0], func(*data, version) {
		for _, name := range usernames {
			found[name] = store.UserKey{Username: name, Key: store.Key{Version: 1}}
		}
	})
	return found, err
}

// Epoch implements store.Meta.
func (h *handle) Epoch(ctx context.Context) (epoch string, err error) {
	err = h.readLast(ctx, "Epoch", "", func(e *data, v version) { epoch = e.epoch(v) })
	return epoch, err
}

// NewEpoch implements store.Meta. No server calls it.
func (h *handle) NewEpoch(context.Context) (string, error) { return "", store.ErrUnavailable }

// PutOnce implements store.Meta. No simulated service calls it.
func (h *handle) PutOnce(context.Context, string, []byte) ([]byte, error) {
	return nil, store.ErrUnavailable
}

// Value implements store.Meta. No simulated service calls it.
func (h *handle) Value(context.Context, string) ([]byte, error) { return nil, store.ErrUnavailable }
