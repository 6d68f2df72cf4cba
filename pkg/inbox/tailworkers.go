package inbox

import (
	"github.com/sealpost/sealpost/pkg/batch"
)

// lane holds the jobs that wait for one inbox. It is either in one group or in the chunk of one worker.
type lane struct {
	user string
	jobs []*job
}

// group holds the lanes that were enqueued together.
type group struct{ lanes []*lane }

// workerDone ends one worker's work.
func (t *tails) workerDone() {
	if t.working--; t.stopped && t.working == 0 {
		close(t.idle)
	}
}

func (t *tails) enqueue(v *visit) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return batch.ErrStopped
	}
	if t.jobs+len(v.jobs) > maxTailJobs {
		return batch.ErrFull
	}
	t.jobs += len(v.jobs)
	fresh := &group{}
	for i := range v.jobs {
		j := &v.jobs[i]
		l := t.lanes[j.user]
		if l == nil {
			l = &lane{user: j.user}
			t.lanes[j.user] = l
			fresh.lanes = append(fresh.lanes, l)
		}
		l.jobs = append(l.jobs, j)
	}
	t.queueGroup(fresh)
	return nil
}

// queueGroup enqueues a group.
func (t *tails) queueGroup(g *group) {
	if len(g.lanes) == 0 {
		return
	}
	if len(g.lanes) > tailShare {
		t.large = append(t.large, g)
	} else {
		t.small = append(t.small, g)
	}
	t.startWorker()
}

// startWorker starts a worker if chunks wait and fewer than tailWorkers run.
func (t *tails) startWorker() {
	if t.working < tailWorkers && t.next() != nil {
		t.working++
		go t.work()
	}
}

// next returns the queue from which the next chunk comes, or nil.
func (t *tails) next() *[]*group {
	large := len(t.large) > 0 && t.onLarge < largeWorkers
	switch {
	case len(t.small) > 0 && (!large || t.onLarge > 0):
		return &t.small
	case large:
		return &t.large
	}
	return nil
}

// stop waits for the chunks under way. Visits still waiting fail with ErrStopped.
func (t *tails) stop() {
	t.mu.Lock()
	if !t.stopped {
		t.stopped = true
		close(t.quit)
		if t.working == 0 {
			close(t.idle)
		}
	}
	t.mu.Unlock()
	<-t.idle
}

func (t *tails) work() {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.workerDone()
	for !t.stopped {
		queue := t.next()
		if queue == nil {
			return
		}
		chunk, large := cut(queue), 0
		if queue == &t.large {
			large = 1
		}
		t.onLarge += large
		t.startWorker()
		t.mu.Unlock()
		t.runChunk(chunk)
		t.mu.Lock()
		t.onLarge -= large
		t.release(chunk)
	}
}

// release gives back the lanes of a chunk. Lanes that got new jobs meanwhile are enqueued again.
func (t *tails) release(chunk []stretch) {
	again := &group{}
	for _, s := range chunk {
		t.jobs -= len(s.jobs)
		if len(s.lane.jobs) == 0 {
			delete(t.lanes, s.lane.user)
		} else {
			again.lanes = append(again.lanes, s.lane)
		}
	}
	t.queueGroup(again)
}
