package load

import (
	"fmt"
	"sync"
	"time"
)

// watch writes a progress line again and again, until stop is called.
func (b *bench) watch(state func() string) (stop func()) {
	if b.Progress == nil {
		return func() {}
	}
	began, done := time.Now(), make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = fmt.Fprintf(b.Progress, "\r\x1b[K%s %3.0f s: %s", b.report.Scenario, time.Since(began).Seconds(), state())
			case <-done:
				_, _ = fmt.Fprint(b.Progress, "\r\x1b[K")
				return
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}
