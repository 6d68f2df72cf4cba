// Package historycheck judges a run of the system from the outside: only from the answers to senders and readers. It checks that every
// acknowledged message was delivered once to each recipient, and that positions mean the same to everybody.
package historycheck

import (
	"fmt"
	"slices"
)

// Attempt is one try to send one message. A sender that retries makes several attempts with the same Key.
type Attempt struct {
	Sender string
	// Key is the client message id.
	Key string
	// Content is unique to the message.
	Content    string
	Recipients []string
	// Began and Ended order attempts in real time; any unit.
	Began, Ended int64
	// Acknowledged means that the answer was 200 or 201, and MessageID is from it.
	Acknowledged bool
	MessageID    string
	// GoneAfter is when the message may be gone: from then on readers may be told that its position is empty. 0 for never.
	GoneAfter int64
	// Committed is when it was committed, if somebody looked inside; else 0: it was not before Began.
	Committed int64
}

// Seen is a message in an answer to a reader.
type Seen struct {
	Position  int64
	MessageID string
	Sender    string
	Content   string
}

// Answer is one answer to one poll of a reader that kept its cursor.
type Answer struct {
	Reader string
	// After is the position after which the poll asked; Cursor is the one to go on from, as answered.
	After, Cursor int64
	Messages      []Seen
	Skipped       []int64
	// At is the time of the answer, in the unit of Attempt; 0 if nothing is ever gone and nobody begins at the head.
	At int64
	// FromHead means that the poll asked for messages after the head of the inbox, which was at After.
	FromHead bool
}

// Report is the verdict. The run was correct if there are no Faults.
type Report struct {
	Attempts, Acknowledged, Messages, Deliveries, Answers int
	Faults                                                []string
}

// maxFaults keeps the report of a badly failed run readable.
const maxFaults = 20

// Check judges a run. The readers must have read on after the last send until nothing more came.
func Check(attempts []Attempt, answers []Answer) Report {
	c := check(attempts, answers)
	c.order()
	return c.report
}

// CheckUnordered is Check without the order of messages in an inbox, for a run with two sequencers at the same time.
func CheckUnordered(attempts []Attempt, answers []Answer) Report {
	return check(attempts, answers).report
}

func check(attempts []Attempt, answers []Answer) *checker {
	c := &checker{
		sends: map[string]*send{}, byContent: map[string]*send{}, inboxes: map[string]*inbox{},
		report: Report{Attempts: len(attempts), Answers: len(answers)},
	}
	for _, a := range attempts {
		c.attempt(a)
	}
	for _, a := range answers {
		c.answer(a)
		c.end = max(c.end, a.At)
	}
	for _, key := range sorted(c.sends) {
		c.judge(c.sends[key])
	}
	for _, a := range answers {
		if a.FromHead {
			c.fromHead(a)
		}
	}
	return c
}

// send merges all attempts with one sender and key.
type send struct {
	Attempt
	acknowledgedAt int64
}

// inbox merges all answers to one reader.
type inbox struct {
	// at is what stands at each position; an empty id means skipped.
	at map[int64]Seen
	// of is the position of each message.
	of map[string]int64
	// skipped is when a position was first reported as empty.
	skipped map[int64]int64
}

type checker struct {
	// end is the time of the last answer.
	end       int64
	sends     map[string]*send
	byContent map[string]*send
	inboxes   map[string]*inbox
	report    Report
}

func (c *checker) fault(format string, args ...any) {
	if len(c.report.Faults) < maxFaults {
		c.report.Faults = append(c.report.Faults, fmt.Sprintf(format, args...))
	}
}

func (c *checker) attempt(a Attempt) {
	key := a.Sender + "\x00" + a.Key
	s := c.sends[key]
	if s == nil {
		s = &send{Attempt: a}
		s.Acknowledged, s.MessageID = false, ""
		c.sends[key] = s
		c.byContent[a.Content] = s
	}
	s.Began, s.GoneAfter = min(s.Began, a.Began), min(s.GoneAfter, a.GoneAfter)
	s.Committed = max(s.Committed, a.Committed)
	if !a.Acknowledged {
		return
	}
	if s.Acknowledged && s.MessageID != a.MessageID {
		c.fault("one key, two messages: %s of %s was acknowledged as %s and as %s", a.Key, a.Sender, s.MessageID, a.MessageID)
	}
	if !s.Acknowledged {
		c.report.Acknowledged++
		s.acknowledgedAt = a.Ended
	}
	s.Acknowledged, s.MessageID, s.acknowledgedAt = true, a.MessageID, min(s.acknowledgedAt, a.Ended)
}

// answer checks that an answer accounts for every position up to its cursor, and agrees with the other answers.
func (c *checker) answer(a Answer) {
	box := c.inboxes[a.Reader]
	if box == nil {
		box = &inbox{at: map[int64]Seen{}, of: map[string]int64{}, skipped: map[int64]int64{}}
		c.inboxes[a.Reader] = box
	}
	covered := slices.Clone(a.Skipped)
	for _, p := range a.Skipped {
		c.place(a.Reader, box, Seen{Position: p}, a.At)
	}
	last := int64(0)
	for _, m := range a.Messages {
		if m.Position <= last {
			c.fault("%s was given position %d after %d in one answer", a.Reader, m.Position, last)
		}
		last = m.Position
		covered = append(covered, m.Position)
		c.place(a.Reader, box, m, a.At)
	}
	slices.Sort(covered)
	for i, p := range covered {
		if p != a.After+int64(i)+1 {
			c.fault("%s asked after %d and was told of positions %v: not contiguous", a.Reader, a.After, covered)
			return
		}
	}
	if a.Cursor != a.After+int64(len(covered)) {
		c.fault("%s asked after %d, was told of %d positions and to go on from %d", a.Reader, a.After, len(covered), a.Cursor)
	}
}

func (c *checker) place(reader string, box *inbox, m Seen, at int64) {
	before, there := box.at[m.Position]
	if first, told := box.skipped[m.Position]; m.MessageID == "" && (!told || at < first) {
		box.skipped[m.Position] = at
	}
	if there && before != m && !c.wasGone(box, before, m) {
		c.fault("%s: position %d held %q and later %q", reader, m.Position, before.MessageID, m.MessageID)
		return
	}
	if m.MessageID == "" {
		if !there {
			box.at[m.Position] = m
		}
		return
	}
	box.at[m.Position] = m
	if p, there := box.of[m.MessageID]; there && p != m.Position {
		c.fault("%s was given message %s at position %d and at %d", reader, m.MessageID, p, m.Position)
		return
	}
	if _, there := box.of[m.MessageID]; !there {
		box.of[m.MessageID] = m.Position
		c.report.Deliveries++
		c.belongs(reader, m)
	}
}

// wasGone reports whether one of two answers for a position is a message, the other is empty, and the message may have been gone by then.
func (c *checker) wasGone(box *inbox, a, b Seen) bool {
	if a.MessageID == "" {
		a = b
	} else if b.MessageID != "" {
		return false
	}
	s := c.byContent[a.Content]
	return s != nil && s.GoneAfter != 0 && box.skipped[a.Position] >= s.GoneAfter
}

// fromHead requires that no message stands below a reader's start at the head that was committed only later: the reader never gets it.
// Messages that may have been gone by then are not checked.
func (c *checker) fromHead(a Answer) {
	box := c.inboxOf(a.Reader)
	for _, p := range sorted(box.at) {
		s := c.byContent[box.at[p].Content]
		if p > a.After || box.at[p].MessageID == "" || s == nil || (s.GoneAfter != 0 && a.At >= s.GoneAfter) {
			continue
		}
		if later := max(s.Began, s.Committed); later > a.At {
			c.fault("%s began at the head, at %d, and is not given %s of %s at %d, which was committed later", a.Reader, a.After, s.Key, s.Sender, p)
		}
	}
}

// belongs requires that somebody sent m, unchanged, to the reader.
func (c *checker) belongs(reader string, m Seen) {
	s := c.byContent[m.Content]
	switch {
	case s == nil:
		c.fault("%s was given message %s, which nobody sent", reader, m.MessageID)
	case s.Sender != m.Sender:
		c.fault("%s was given a message of %s as one of %s", reader, s.Sender, m.Sender)
	case !slices.Contains(s.Recipients, reader):
		c.fault("%s was given message %s, which is for %v", reader, m.MessageID, s.Recipients)
	}
}

// judge requires that a send reached all its recipients once if it was acknowledged, and else all or none.
func (c *checker) judge(s *send) {
	reached := map[string]string{}
	for _, reader := range s.Recipients {
		for id, p := range c.inboxOf(reader).of {
			if c.inboxOf(reader).at[p].Content != s.Content {
				continue
			}
			if first, twice := reached[reader]; twice {
				c.fault("%s was given %s of %s twice: as %s and as %s", reader, s.Key, s.Sender, first, id)
			}
			reached[reader] = id
			if s.Acknowledged && id != s.MessageID {
				c.fault("%s of %s was acknowledged as %s and delivered as %s", s.Key, s.Sender, s.MessageID, id)
			}
		}
	}
	if len(reached) > 0 {
		c.report.Messages++
	}
	if len(reached) == len(s.Recipients) || (s.GoneAfter != 0 && s.GoneAfter <= c.end) {
		return
	}
	if s.Acknowledged {
		c.fault("%s of %s was acknowledged, for %v, and reached %v", s.Key, s.Sender, s.Recipients, sorted(reached))
	} else if len(reached) > 0 {
		c.fault("%s of %s, for %v, reached only %v", s.Key, s.Sender, s.Recipients, sorted(reached))
	}
}

func (c *checker) inboxOf(reader string) *inbox {
	if box := c.inboxes[reader]; box != nil {
		return box
	}
	return &inbox{}
}

// order requires that in each inbox a message acknowledged before another was first tried stands before it.
func (c *checker) order() {
	for _, reader := range sorted(c.inboxes) {
		box := c.inboxes[reader]
		// Walking down from the newest position, the earliest acknowledgement seen so far must not precede the beginning of a lower one.
		earliest := int64(1<<63 - 1)
		var of Seen
		for _, p := range slices.Backward(sorted(box.at)) {
			s := c.byContent[box.at[p].Content]
			if s == nil || box.at[p].MessageID == "" {
				continue
			}
			if earliest < s.Began {
				c.fault("%s: %s stands at %d, before %s at %d, which was acknowledged before it was sent", reader, s.Key, p, of.MessageID, of.Position)
			}
			if s.Acknowledged && s.acknowledgedAt < earliest {
				earliest, of = s.acknowledgedAt, box.at[p]
			}
		}
	}
}

func sorted[K int64 | string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// String summarizes a report in one line, and lists its faults.
func (r Report) String() string {
	text := fmt.Sprintf("%d attempts, %d sends acknowledged, %d messages delivered, %d deliveries, %d poll answers, %d faults",
		r.Attempts, r.Acknowledged, r.Messages, r.Deliveries, r.Answers, len(r.Faults))
	for _, f := range r.Faults {
		text += "\n  " + f
	}
	return text
}
