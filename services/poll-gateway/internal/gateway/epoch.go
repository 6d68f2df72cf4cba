package gateway

import (
	"context"
	"sync"
	"time"
)

// epochAge is how long an epoch is believed without asking the store again. A restore changes it; that is rare, and
// done with the gateways stopped if the operator follows the guide.
const epochAge = 30 * time.Second

// epochStale is up to when an old epoch is given while a new one is asked for: a store that does not answer must not stop polls
// that need nothing of it.
const epochStale = 2 * epochAge

// epochRecheck is how often a claim of another epoch makes the store be asked.
const epochRecheck = time.Second

// epochTimeout bounds asking the store.
const epochTimeout = 5 * time.Second

// Epochs knows the log's epoch.
type Epochs struct {
	load func(context.Context) (string, error)
	now  func() time.Time

	mu      sync.Mutex
	current string
	at      time.Time
	// loading is closed when the store has been asked; nil while nobody asks it. fault is what became of the last time.
	loading chan struct{}
	fault   error
	// changing: it is another one, and onChange has not returned. Until then nobody is told of either.
	changing bool
	// onChange is called when the epoch turns out to be another one, before anybody is told of it.
	onChange func()
}

// NewEpochs makes an Epochs that asks load.
func NewEpochs(load func(context.Context) (string, error)) *Epochs {
	return &Epochs{load: load, now: time.Now, onChange: func() {}}
}

// changed sets what is called when the epoch turns out to be another one. It must not ask for the epoch.
func (e *Epochs) changed(f func()) { e.onChange = f }

// Current returns the epoch as known here.
func (e *Epochs) Current(ctx context.Context) (string, error) {
	if current, known := e.Known(ctx); known {
		return current, nil
	}
	e.mu.Lock()
	done := e.refresh(ctx)
	e.mu.Unlock()
	return e.after(ctx, done)
}

// Known returns the epoch if it can be told without asking the store. It does not block.
func (e *Epochs) Known(ctx context.Context) (epoch string, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	age := e.now().Sub(e.at)
	if e.current == "" || e.changing || age >= epochStale {
		return "", false
	}
	if age >= epochAge {
		e.refresh(ctx)
	}
	return e.current, true
}

// Is reports whether claimed is the log's epoch. Before it says no it asks the store, at most once a second.
func (e *Epochs) Is(ctx context.Context, claimed string) (bool, error) {
	current, err := e.Current(ctx)
	if err != nil || current == claimed {
		return err == nil, err
	}
	current, err = e.Recheck(ctx)
	return current == claimed, err
}

// Recheck returns the epoch and asks the store before, at most once a second.
func (e *Epochs) Recheck(ctx context.Context) (string, error) {
	e.mu.Lock()
	if e.current != "" && !e.changing && e.now().Sub(e.at) < epochRecheck {
		defer e.mu.Unlock()
		return e.current, nil
	}
	done := e.refresh(ctx)
	e.mu.Unlock()
	return e.after(ctx, done)
}

// refresh has the store asked, unless it is being asked, and returns what is closed then. e.mu is held.
func (e *Epochs) refresh(ctx context.Context) (done <-chan struct{}) {
	if e.loading == nil {
		e.loading = make(chan struct{})
		go e.ask(context.WithoutCancel(ctx)) // others wait for it, too
	}
	return e.loading
}

func (e *Epochs) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, epochTimeout)
	defer cancel()
	current, err := e.load(ctx)
	e.mu.Lock()
	e.changing = err == nil && e.current != "" && e.current != current
	changing := e.changing
	e.mu.Unlock()
	if changing {
		e.onChange()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changing = false
	if err == nil {
		e.current = current
	}
	if e.current != "" {
		e.at = e.now() // an old answer beats none: polls go on while the store is away
	}
	e.fault = err
	close(e.loading)
	e.loading = nil
}

// after returns what is known when done is closed.
func (e *Epochs) after(ctx context.Context, done <-chan struct{}) (string, error) {
	select {
	case <-done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == "" {
		return "", e.fault
	}
	return e.current, nil
}
