package gateway

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
)

const (
	// firstPollWait is how long a user's only poll waits for a place, if nobody has two.
	firstPollWait = 3 * time.Second
	// admissionWait is how long another poll above the capacity does. When clients drop their connections and reconnect at once, some
	// arrive before the gateway has noticed that the old connections are gone.
	admissionWait = 250 * time.Millisecond
	// patients is how many polls may wait like that: more are refused at once.
	patients = 64
)

// arrivals are the polls that wait for a place.
type arrivals struct {
	// waiting counts the polls that wait for a place. freed signals them that one may be free.
	waiting, freed chan struct{}
}

func newArrivals() arrivals {
	return arrivals{waiting: make(chan struct{}, patients), freed: make(chan struct{}, patients)}
}

// admit takes a place for a poll of who, if there is one, if somebody makes room, or if one becomes free in time.
func (g *Gateway) admit(ctx context.Context, who admission.Holder) (*admission.Holding, error) {
	if g.isDraining() {
		return nil, g.refuseDraining()
	}
	place := g.places.Await(ctx, who, 1, firstPollWait)
	if place == nil {
		place = g.await(ctx, who)
	}
	if place != nil && g.isDraining() {
		place.Release()
		return nil, g.refuseDraining()
	}
	if place == nil {
		g.metrics.refused.WithLabelValues("capacity").Inc()
		return nil, ErrAtCapacity
	}
	g.metrics.openPolls.Inc()
	return place, nil
}

func (g *Gateway) refuseDraining() error {
	g.metrics.refused.WithLabelValues("draining").Inc()
	return ErrDraining
}

// await takes a place if one becomes free within admissionWait; else it returns nil.
func (g *Gateway) await(ctx context.Context, who admission.Holder) *admission.Holding {
	select {
	case g.arrivals.waiting <- struct{}{}:
		defer func() { <-g.arrivals.waiting }()
	default:
		return nil
	}
	timer := time.NewTimer(admissionWait)
	defer timer.Stop()
	for {
		if place := g.places.Take(who, 1); place != nil {
			return place
		}
		select {
		case <-g.arrivals.freed:
		case <-timer.C:
			return nil
		case <-g.draining:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// release undoes admit.
func (g *Gateway) release(place *admission.Holding) {
	place.Release()
	g.metrics.openPolls.Dec()
	if len(g.arrivals.waiting) == 0 {
		return
	}
	select {
	case g.arrivals.freed <- struct{}{}:
	default: // there is a signal for every poll that can wait
	}
}
