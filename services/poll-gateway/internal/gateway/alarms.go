package gateway

import (
	"container/heap"
	"sync"
	"time"
)

// alarms wakes mailboxes at their due times. One timer serves all: a timer each would be a third of a mailbox's memory.
type alarms struct {
	start time.Time

	mu    sync.Mutex
	queue alarmQueue
	timer *time.Timer
}

// alarm is a mailbox's place in the queue; the lock of alarms guards it.
type alarm struct {
	due time.Duration
	// place in the queue, from 1; 0 for none.
	place int
}

// now is the time since start, smaller than a time.Time.
func (a *alarms) now() time.Duration { return time.Since(a.start) }

// set makes m wake no later than at due.
func (a *alarms) set(m *mailbox, due time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case m.alarm.place == 0:
		m.alarm.due = due
		heap.Push(&a.queue, m)
	case due < m.alarm.due:
		m.alarm.due = due
		heap.Fix(&a.queue, m.alarm.place-1)
	}
	if m.alarm.place == 1 {
		a.resetTimer()
	}
}

// clear removes m.
func (a *alarms) clear(m *mailbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.alarm.place > 0 {
		heap.Remove(&a.queue, m.alarm.place-1)
		a.resetTimer()
	}
}

// resetTimer sets the timer to the first in the queue. a.mu is held.
func (a *alarms) resetTimer() {
	switch {
	case len(a.queue) == 0 && a.timer != nil:
		a.timer.Stop()
	case len(a.queue) == 0:
	case a.timer == nil:
		a.timer = time.AfterFunc(a.queue[0].alarm.due-a.now(), a.fire)
	default:
		a.timer.Reset(a.queue[0].alarm.due - a.now())
	}
}

// fire wakes the mailboxes that are due.
func (a *alarms) fire() {
	for _, m := range a.due() {
		m.wake()
	}
}

func (a *alarms) due() []*mailbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*mailbox
	for now := a.now(); len(a.queue) > 0 && a.queue[0].alarm.due <= now; {
		list = append(list, heap.Pop(&a.queue).(*mailbox))
	}
	a.resetTimer()
	return list
}

// alarmQueue implements heap.Interface, earliest first.
type alarmQueue []*mailbox

func (q alarmQueue) Len() int           { return len(q) }
func (q alarmQueue) Less(i, j int) bool { return q[i].alarm.due < q[j].alarm.due }
func (q alarmQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].alarm.place, q[j].alarm.place = i+1, j+1
}

// Push implements heap.Interface.
func (q *alarmQueue) Push(x any) {
	m := x.(*mailbox)
	*q = append(*q, m)
	m.alarm.place = len(*q)
}

// Pop implements heap.Interface.
func (q *alarmQueue) Pop() any {
	last := len(*q) - 1
	m := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	m.alarm.place = 0
	return m
}
