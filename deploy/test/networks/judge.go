package networks

import (
	"fmt"
	"sync"
	"time"
)

// Judge compares what was acknowledged to a sender, one message after another, with what a client reports. It may be used concurrently.
type Judge struct {
	mu sync.Mutex
	// index is the place of each text in the order of sending, which is also the order of the acknowledgements.
	index map[string]int
	acked []time.Time
	// first is when each text was received for the first time; order has every reception.
	first map[string]time.Time
	order []string
	// changed is closed, and replaced, at each reception and acknowledgement.
	changed chan struct{}
}

// NewJudge makes a judge who has seen nothing.
func NewJudge() *Judge {
	return &Judge{index: map[string]int{}, first: map[string]time.Time{}, changed: make(chan struct{})}
}

// Sending announces the next text before it is sent: it may be received before it is acknowledged.
func (j *Judge) Sending(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.index[text] = len(j.acked)
	j.acked = append(j.acked, time.Time{})
}

// Acknowledged records the acknowledgement of a text that was announced.
func (j *Judge) Acknowledged(text string, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if i, known := j.index[text]; known {
		j.acked[i] = at
	}
	j.tell()
}

// Received records a text that the client reports.
func (j *Judge) Received(text string, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, before := j.first[text]; !before {
		j.first[text] = at
	}
	j.order = append(j.order, text)
	j.tell()
}

func (j *Judge) tell() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// Progress returns how many messages are acknowledged, how many of all were received, and a channel that is closed when either
// changes.
func (j *Judge) Progress() (acknowledged, received int, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, at := range j.acked {
		if !at.IsZero() {
			acknowledged++
		}
	}
	return acknowledged, len(j.first), j.changed
}

// Verdict is what a judge says of a client.
type Verdict struct {
	Acknowledged, Delivered, Repeated int
	// Lost are the messages that were passed over: later ones came. Awaited are those that nothing came after.
	Lost, Awaited int
	// Disordered are the messages that came for the first time after a later one.
	Disordered int
	// Unknown are texts that nobody sent.
	Unknown int
	// Worst is the longest time from an acknowledgement to the first reception.
	Worst time.Duration
}

// Verdict judges what has come so far.
func (j *Judge) Verdict() Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := Verdict{Delivered: len(j.first), Repeated: len(j.order) - len(j.first)}
	newest := -1
	seen := map[string]bool{}
	for _, text := range j.order {
		i, known := j.index[text]
		switch {
		case !known:
			v.Unknown++
		case !seen[text] && i < newest:
			v.Disordered++
		}
		newest = max(newest, i)
		seen[text] = true
	}
	for text, i := range j.index {
		at := j.acked[i]
		if at.IsZero() {
			continue
		}
		v.Acknowledged++
		switch first, came := j.first[text]; {
		case came:
			v.Worst = max(v.Worst, first.Sub(at))
		case i < newest:
			v.Lost++
		default:
			v.Awaited++
		}
	}
	return v
}

// Faults lists what is wrong, for a client that may or may not be given a message again.
func (v Verdict) Faults(atLeastOnce bool) (faults []string) {
	add := func(n int, what string) {
		if n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(v.Lost, "lost")
	add(v.Awaited, "did not come")
	add(v.Disordered, "out of order")
	add(v.Unknown, "that nobody sent")
	if !atLeastOnce {
		add(v.Repeated, "repeated")
	}
	return faults
}
