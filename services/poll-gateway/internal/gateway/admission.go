package gateway

import (
	"context"
	"time"
)

const (
	// admissionWait is how long a poll above the capacity waits for a place. When clients drop their connections and reconnect at once, some
	// arrive before the gateway has noticed that the old connections are gone.
	admissionWait = 250 * time.Millisecond
	// patients is how many polls may wait like that: more are refused at once.
	patients = 64
)

// admission counts open polls and keeps them below the capacity.
type admission struct {
	// waiting counts the polls that wait for a place. freed signals them that one may be free.
	waiting, freed chan struct{}
}

func newAdmission() admission {
	return admission{waiting: make(chan struct{}, patients), freed: make(chan struct{}, patients)}
}

// admit counts an open poll, if there is a place or one becomes free within admissionWait.
func (g *Gateway) admit(ctx context.Context) error {
	if g.isDraining() {
		g.metrics.refused.WithLabelValues("draining").Inc()
		return ErrDraining
	}
	if !g.occupy() && !g.await(ctx) {
		g.metrics.refused.WithLabelValues("capacity").Inc()
		return ErrAtCapacity
	}
	g.metrics.openPolls.Inc()
	return nil
}

// occupy takes a place if one is free.
func (g *Gateway) occupy() bool {
	for {
		n := g.open.Load()
		if n >= g.cfg.MaxPolls {
			return false
		}
		if g.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// await takes a place if one becomes free within admissionWait.
func (g *Gateway) await(ctx context.Context) bool {
	select {
	case g.admission.waiting <- struct{}{}:
		defer func() { <-g.admission.waiting }()
	default:
		return false
	}
	timer := time.NewTimer(admissionWait)
	defer timer.Stop()
	for !g.occupy() {
		select {
		case <-g.admission.freed:
		case <-timer.C:
			return false
		case <-g.draining:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// release undoes admit.
func (g *Gateway) release() {
	g.open.Add(-1)
	g.metrics.openPolls.Dec()
	if len(g.admission.waiting) == 0 {
		return
	}
	select {
	case g.admission.freed <- struct{}{}:
	default: // there is a signal for every poll that can wait
	}
}
