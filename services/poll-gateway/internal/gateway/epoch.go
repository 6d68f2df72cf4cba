package gateway

import (
	"context"
	"sync"
	"time"
)

// epochAge is how long an epoch is believed without asking the store again. A restore changes it; that is rare, and
// done with the gateways stopped if the operator follows the guide.
const epochAge = 30 * time.Second

// Epochs knows the log's epoch.
type Epochs struct {
	load func(context.Context) (string, error)
	now  func() time.Time

	mu      sync.Mutex
	current string
	at      time.Time
}

// NewEpochs makes an Epochs that asks load.
func NewEpochs(load func(context.Context) (string, error)) *Epochs {
	return &Epochs{load: load, now: time.Now}
}

// Current returns the epoch as known here.
func (e *Epochs) Current(ctx context.Context) (string, error) {
	return e.get(ctx, epochAge)
}

// Is reports whether claimed is the log's epoch. Before it says no it asks the store, at most once a second.
func (e *Epochs) Is(ctx context.Context, claimed string) (bool, error) {
	current, err := e.get(ctx, epochAge)
	if err != nil || current == claimed {
		return err == nil, err
	}
	current, err = e.get(ctx, time.Second)
	return current == claimed, err
}

func (e *Epochs) get(ctx context.Context, maxAge time.Duration) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != "" && e.now().Sub(e.at) < maxAge {
		return e.current, nil
	}
	current, err := e.load(ctx)
	if err != nil {
		if e.current != "" {
			e.at = e.now()
			return e.current, nil // an old answer beats none: polls go on while the store is away
		}
		return "", err
	}
	e.current, e.at = current, e.now()
	return current, nil
}
