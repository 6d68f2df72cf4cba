package gateway

import (
	"context"
	"sync"
	"time"
)

// epochAge is how long an epoch is used without asking the store again. Only a restore changes it. That is rare, and the gateways are
// stopped for it if the operator follows the guide.
const epochAge = 30 * time.Second

// epochStale is the age up to which an epoch is used while the store is asked again: a store that does not answer must not stop polls
// that do not need it.
const epochStale = 2 * epochAge

// epochRecheck is the least time between reads of the epoch that claims of another one cause.
const epochRecheck = time.Second

// epochTimeout limits a read of the epoch.
const epochTimeout = 5 * time.Second

// Epochs caches the log's epoch. It is safe for concurrent use.
type Epochs struct {
	load func(context.Context) (string, error)
	now  func() time.Time

	mu      sync.Mutex
	current string
	at      time.Time
	// loading is closed when the store has been asked; nil while nobody asks. fault is the error of the last time.
	loading chan struct{}
	fault   error
	// changing: there is a new epoch, and onChange has not returned. Until then neither epoch is given out.
	changing bool
	// onChange is called when the epoch has changed, before the new one is given out.
	onChange func()
}

// NewEpochs makes an Epochs that calls load.
func NewEpochs(load func(context.Context) (string, error)) *Epochs {
	return &Epochs{load: load, now: time.Now, onChange: func() {}}
}

// changed sets onChange. It must not ask for the epoch.
func (e *Epochs) changed(f func()) { e.onChange = f }

// Current returns the epoch, from the store if the cached one is missing or too old.
func (e *Epochs) Current(ctx context.Context) (string, error) {
	if current, known := e.Known(ctx); known {
		return current, nil
	}
	e.mu.Lock()
	done := e.refresh(ctx)
	e.mu.Unlock()
	return e.after(ctx, done)
}

// Known returns the cached epoch, if it may be used without asking the store. It does not block.
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

// Is reports whether claimed is the log's epoch. It asks the store before it says no, at most once a second.
func (e *Epochs) Is(ctx context.Context, claimed string) (bool, error) {
	current, err := e.Current(ctx)
	if err != nil || current == claimed {
		return err == nil, err
	}
	current, err = e.Recheck(ctx)
	return current == claimed, err
}

// Recheck asks the store for the epoch, at most once a second, and returns it.
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

// refresh starts a read of the epoch unless one is under way; done is closed at its end. e.mu is held.
func (e *Epochs) refresh(ctx context.Context) (done <-chan struct{}) {
	if e.loading == nil {
		e.loading = make(chan struct{})
		go e.ask(context.WithoutCancel(ctx)) // others wait for it too
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
		e.at = e.now() // keep the old epoch: polls go on while the store is unavailable
	}
	e.fault = err
	close(e.loading)
	e.loading = nil
}

// after waits for done and returns the epoch.
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
