package simulation

import (
	"time"
)

// Shape is who takes part in a run and what they do.
type Shape struct {
	Users, Messages, Gateways int
	// Sends is the number of messages, sent over Busy; then all faults end.
	Sends int
	Busy  time.Duration
	// Quiet is how long, at the end of Busy, almost nobody sends: long enough for a whole inbox to be purged.
	Quiet time.Duration
	// Again is how long, at the end of Busy, nothing new is sent; some client message ids are used again with other content, around the
	// time when their first messages are purged.
	Again time.Duration
	// Retention of messages; BlockSize is the block size of the store's marks (see package mongo), 1 for a store with exact tails.
	Retention time.Duration
	BlockSize int64
	// ManyRecipients is the largest number of recipients of a broadcast.
	ManyRecipients int
	// Bursts are moments at which several send at once, if any: what holds up one send meets the next ones.
	Bursts []time.Duration
	// Expiring is the share of messages that expire soon.
	Expiring float64
	// Far: the store is far away, some 50 ms a call.
	Far bool
	// Standalone: all is one process on an embedded store. Prepared entries are not synced, and a power cut loses unsynced writes.
	Standalone bool
	// Cluster: Redis is a Cluster, so a client judges each slot separately.
	Cluster bool
	// Logins: some logins are ended, and nodes follow the revocations.
	Logins bool
}

// makeStandalone makes a shape that of a standalone server.
func (s *Shape) makeStandalone() {
	s.Standalone, s.Far, s.Cluster, s.Messages, s.Gateways, s.BlockSize = true, false, false, 1, 1, 1
}

// leastRetention is longer than the sum of how long a client repeats (half the retention), is kept waiting, and a process pauses: within
// the retention a repeat finds its message, and after it counts as new.
const leastRetention = 150 * time.Second

// longRetention never passes within a run.
const longRetention = 90 * 24 * time.Hour

// purgeMargin is by how much entries outlive messages: less than an hour, so that a run can see them removed. A tombstone is purged no
// sooner than half of it after what it is passed for, and messages may be overdue for as long as that half.
const purgeMargin = 8 * time.Minute

func drawShape(d *rng) Shape {
	s := Shape{
		Users: d.among(2, 5), Messages: d.among(1, 3), Gateways: d.among(1, 3), Sends: d.among(5, 30),
		Busy: d.between(20*time.Second, 2*time.Minute), Retention: longRetention, BlockSize: pick(d, []int64{1, 8, 1024}), ManyRecipients: 4,
		Cluster: d.hit(0.4),
	}
	if d.hit(0.3) { // short enough to pass while clients are away or wait
		s.Retention = d.between(leastRetention, 6*time.Minute)
		s.Busy += s.Retention / 2
	}
	if d.hit(0.3) {
		s.Expiring = d.float() / 2
	}
	if d.hit(0.1) {
		s.Far = true
	}
	if d.hit(0.015) {
		s.ManyRecipients = 1024
	} else if d.hit(0.05) {
		s.ManyRecipients = 40
	}
	return s
}

// burst is the length of a burst.
const burst = 10 * time.Millisecond

// drawBursts draws moments, some at random, some within the faults, and some just before they begin: of the sends under way then, some
// still succeed.
func drawBursts(d *rng, p Plan) (moments []time.Duration) {
	for range d.among(1, 3) {
		moments = append(moments, d.between(0, p.Shape.Sending()))
	}
	for _, f := range p.Faults {
		switch at := d.float(); {
		case at < 0.4:
			moments = append(moments, min(p.Shape.Sending(), f.At+d.between(-time.Second, f.For+time.Second)))
		case at < 0.8:
			moments = append(moments, min(p.Shape.Sending(), f.At-d.between(0, 2*burst)))
		}
	}
	return moments
}

// Sending is how long new messages are sent.
func (s Shape) Sending() time.Duration { return s.Busy - s.Quiet - s.Again }
