package simulation

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/redislog"
	"github.com/sealpost/sealpost/pkg/token"
)

// verifier parses tokens: a name, a session and, if it is not 1, the generation of the account.
type verifier struct{}

// Verify is called by token.Guard.
func (verifier) Verify(raw string) (token.Identity, error) {
	user, session, found := strings.Cut(raw, "/")
	if !found {
		return token.Identity{}, token.ErrInvalid
	}
	id := token.Identity{Username: user, Subject: user, SessionID: session, TokenID: session, Generation: 1, ExpiresAt: time.Now().Add(tokenLifetime)}
	if before, generation, found := strings.Cut(session, "/"); found {
		id.SessionID, id.TokenID = before, before
		if _, err := fmt.Sscan(generation, &id.Generation); err != nil {
			return token.Identity{}, token.ErrInvalid
		}
	}
	return id, nil
}

const tokenLifetime = 24 * time.Hour

// follow makes a node follow the revocations: it serves only once it knows them.
func (w *world) follow(n *node) (stop func()) {
	if n.counters == nil {
		n.counters = &counters{process: n.process, r: w.redis}
		n.counters.connect()
	}
	n.mirror, stop = w.mirrorOf(n.counters)
	return stop
}

// mirrorOf starts a copy of the revocations.
func (w *world) mirrorOf(client *counters) (m *revocation.Mirror, stop func()) {
	m = revocation.New(redislog.NewOn(client))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	return m, func() {
		cancel()
		<-done
	}
}

// ready reports whether a node takes requests.
func (n *node) ready() bool {
	if n == nil || n.process.isDead() || n.leaving {
		return false
	}
	if n.mirror == nil {
		return true
	}
	select {
	case <-n.mirror.Ready():
		return true
	default:
		return false
	}
}

// waitsForRevocations reports whether a node does not serve yet because it has not read the revocations: without Redis none starts.
func (w *world) waitsForRevocations() bool {
	return time.Now().Before(w.redisFaultUntil) && slices.ContainsFunc(w.nodes, func(n *node) bool {
		return n != nil && !n.process.isDead() && !n.leaving && !n.ready()
	})
}

// endedLogin keeps using a token after its logout: an unaware client, or one that should not have it.
type endedLogin struct {
	w         *world
	d         *rng
	user, raw string
	record    revocation.Record
	// tried: its logout was requested, or that of all older tokens of its account; out is when its own was acknowledged.
	tried bool
	out   time.Time
	// refused holds the ids of the processes that have refused the token.
	refused map[int]bool
}

const (
	// logoutsHold is how long after a logout every node refuses its token, without faults.
	logoutsHold = 5 * time.Second
	// nodesReturn is how long after trouble with Redis, or with a process, every node knows every logout again: nodes that have lost Redis
	// wait up to five seconds before they reconnect.
	nodesReturn = 20 * time.Second
)

// startLogins opens logins and ends them: one by one, and all of an account that are older than its last.
func (w *world) startLogins() {
	d := rngOf(w.plan.Seed, "ghosts")
	auth := &counters{process: w.newProcess(0), r: w.redis}
	mirror, stop := w.mirrorOf(auth)
	w.stopAuth = stop
	for i := range d.among(1, 3) {
		g := &endedLogin{w: w, d: rngOf(w.plan.Seed, "ghost", uint64(i)), user: userName(d.below(w.plan.Shape.Users)), refused: map[int]bool{}}
		id := fmt.Sprintf("g%d", i)
		g.record = revocation.Record{Subject: g.user, TokenID: id, ExpiresAt: time.Now().Add(tokenLifetime)}
		g.raw = g.user + "/" + id
		if d.hit(0.4) {
			g.record.TokenID, g.record.MinGeneration = "", 1
			g.raw += "/0"
		}
		w.endedLogins = append(w.endedLogins, g)
		w.readers.Go(g.run)
		w.readers.Go(func() { g.logOut(mirror) })
	}
}

// logOut ends the login at a random time, and retries until that is acknowledged.
func (g *endedLogin) logOut(auth *revocation.Mirror) {
	w, d := g.w, rngOf(g.w.plan.Seed, "logout", textHash(g.raw))
	_ = w.sleep(context.Background(), d.between(0, w.plan.Shape.Busy))
	<-auth.Ready()
	for _, other := range w.endedLogins {
		other.tried = other.tried || other == g || (g.record.TokenID == "" && other.record.TokenID == "" && other.user == g.user)
	}
	for !w.aborted {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := auth.Revoke(ctx, g.record)
		cancel()
		w.count("logouts")
		w.note("logout of %s: %v", g.raw, err)
		if err == nil {
			g.out = time.Now()
			return
		}
		_ = w.sleep(context.Background(), d.between(100*time.Millisecond, 2*time.Second))
	}
}

// held is the time from which no node may accept the token.
func (g *endedLogin) held() time.Time {
	held := g.out.Add(logoutsHold)
	if g.w.plan.Rates[rateSeqFail] > 0 {
		held = g.out.Add(nodesReturn)
	}
	for _, t := range []time.Time{g.w.faultUntil, g.w.redisFaultUntil} {
		if t = t.Add(nodesReturn); t.After(held) {
			held = t
		}
	}
	return held
}

func (g *endedLogin) run() {
	w := g.w
	for last := false; !last && !w.aborted; {
		_ = w.sleep(context.Background(), g.d.between(0, 8*time.Second))
		if last = w.closing && time.Now().After(g.held()); last {
			for i, n := range w.nodes {
				if status := g.use(n, i%2 == 0); status != http.StatusUnauthorized {
					w.fault("%s was logged out after %s, and in the end node %d answers %d", g.raw, g.out.Sub(w.start), i, status)
				}
			}
			return
		}
		n := w.nodes[g.d.below(len(w.nodes))]
		g.use(n, g.d.hit(0.5))
	}
}

// use uses the token once: for a poll or a stream at a gateway, for the history at a messages service.
func (g *endedLogin) use(n *node, stream bool) (status int) {
	w := g.w
	q := request{method: http.MethodGet, url: "/api/messages/history?limit=1", token: g.raw}
	var chunk func([]byte) error
	if n.gateway {
		q.url = fmt.Sprintf("/api/messages/poll?after=latest&wait=%d", g.d.among(0, 20))
	}
	p := n.process
	if n.gateway && stream {
		q.url = "/api/messages/stream?after=latest"
		chunk = func([]byte) error {
			if at := time.Now(); g.ended(at) {
				w.fault("%s was logged out after %s, and its stream at node %d goes on", g.raw, g.out.Sub(w.start), n.place)
				return errReset
			}
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	w.count("uses of logins that end")
	began := time.Now()
	answer, err := w.send(ctx, g.d, n, q, chunk)
	w.note("%s asks node %d (process %d) %s: %d %v after %s", g.raw, n.place, p.id, q.url, answer.status, err, time.Since(began).Round(time.Millisecond))
	if err != nil {
		return 0
	}
	switch answer.status {
	case http.StatusOK:
		switch {
		case g.refused[p.id]:
			w.fault("%s was refused by process %d, and is taken by it again", g.raw, p.id)
		// A poll ends with its login; a history that was asked for before may be answered.
		case g.ended(began) || (n.gateway && !stream && g.ended(time.Now())):
			w.fault("%s was logged out after %s, and node %d takes it", g.raw, g.out.Sub(w.start), n.place)
		}
	case http.StatusUnauthorized:
		if !g.tried {
			w.fault("%s was refused by node %d: nobody has logged it out", g.raw, n.place)
		}
		g.refused[p.id] = true
	case http.StatusServiceUnavailable:
	default:
		w.fault("%s was answered %d by node %d: %s", g.raw, answer.status, n.place, answer.body)
	}
	return answer.status
}

// ended reports whether no node may accept the token at a time.
func (g *endedLogin) ended(when time.Time) bool { return !g.out.IsZero() && when.After(g.held()) }
