package httpapi

import (
	"runtime"
	"sync"
)

// workers run jobs on a few goroutines, which end when there are no more jobs.
type workers struct {
	mu   sync.Mutex
	jobs []func()
	// running goroutines work on jobs, started ones run tasks.
	running, started int
	// idle is closed when one of the two reaches 0. It is nil if nobody waits for that.
	idle chan struct{}
}

// do queues a job. It does not block, and the job must not block either.
func (w *workers) do(job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = append(w.jobs, job)
	if w.running < max(2, runtime.GOMAXPROCS(0)) {
		w.running++
		go w.work()
	}
}

// start runs a task that may block, on its own goroutine.
func (w *workers) start(task func()) {
	w.mu.Lock()
	w.started++
	w.mu.Unlock()
	go func() {
		task()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.started--
		w.signal(w.started)
	}()
}

// signal wakes the waiting callers if none are left. w.mu is held.
func (w *workers) signal(left int) {
	if left == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}

func (w *workers) work() {
	for job := w.next(); job != nil; job = w.next() {
		job()
	}
}

func (w *workers) next() func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.jobs) == 0 {
		w.jobs = nil
		w.running--
		w.signal(w.running)
		return nil
	}
	job := w.jobs[0]
	w.jobs[0] = nil
	w.jobs = w.jobs[1:]
	return job
}

// settle waits until no job is left.
func (w *workers) settle() { w.until(func() bool { return w.running == 0 }) }

// wait waits until neither jobs nor tasks are left.
func (w *workers) wait() { w.until(func() bool { return w.running == 0 && w.started == 0 }) }

func (w *workers) until(done func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !done() {
		if w.idle == nil {
			w.idle = make(chan struct{})
		}
		idle := w.idle
		w.mu.Unlock()
		<-idle
		w.mu.Lock()
	}
}
