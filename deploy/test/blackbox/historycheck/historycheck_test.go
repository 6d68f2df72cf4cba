package historycheck_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
)

// run is a small correct run: alice sends two messages, the first in two attempts.
func run() (attempts []historycheck.Attempt, answers []historycheck.Answer) {
	attempts = []historycheck.Attempt{
		{Sender: "alice", Key: "k1", Content: "one", Recipients: []string{"bob", "carol"}, Began: 1, Ended: 2},
		{Sender: "alice", Key: "k1", Content: "one", Recipients: []string{"bob", "carol"}, Began: 3, Ended: 4, Acknowledged: true, MessageID: "m1"},
		{Sender: "alice", Key: "k2", Content: "two", Recipients: []string{"bob"}, Began: 5, Ended: 6, Acknowledged: true, MessageID: "m2"},
		{Sender: "alice", Key: "k3", Content: "three", Recipients: []string{"bob", "carol"}, Began: 7, Ended: 8},
	}
	one := historycheck.Seen{Position: 1, MessageID: "m1", Sender: "alice", Content: "one"}
	two := historycheck.Seen{Position: 3, MessageID: "m2", Sender: "alice", Content: "two"}
	answers = []historycheck.Answer{
		{Reader: "bob", After: 0, Cursor: 1, Messages: []historycheck.Seen{one}},
		{Reader: "bob", After: 0, Cursor: 3, Messages: []historycheck.Seen{one, two}, Skipped: []int64{2}},
		{Reader: "carol", After: 0, Cursor: 1, Messages: []historycheck.Seen{one}},
		{Reader: "carol", After: 1, Cursor: 1},
	}
	return attempts, answers
}

func TestARunThatIsRightHasNoFaults(t *testing.T) {
	report := historycheck.Check(run())
	require.Empty(t, report.Faults)
	require.Equal(t, historycheck.Report{Attempts: 4, Acknowledged: 2, Messages: 2, Deliveries: 3, Answers: 4}, report)
}

func TestEachKindOfFaultIsFound(t *testing.T) {
	type A = []historycheck.Attempt
	type P = []historycheck.Answer
	for name, c := range map[string]struct {
		spoil func(a A, p P) (A, P)
		want  string
	}{
		"an acknowledged message that came to nobody": {func(a A, _ P) (A, P) { return a, nil }, "acknowledged, for [bob carol], and reached []"},
		"an acknowledged message that came to some":   {func(a A, p P) (A, P) { return a, p[:2] }, "and reached [bob]"},
		"an unacknowledged message that came to some": {func(a A, p P) (A, P) {
			p[3].Messages, p[3].Cursor = []historycheck.Seen{{Position: 2, MessageID: "m3", Sender: "alice", Content: "three"}}, 2
			return a, p
		}, "reached only [carol]"},
		"one key with two messages": {func(a A, p P) (A, P) {
			again := a[1]
			again.MessageID = "m9"
			return append(a, again), p
		}, "one key, two messages"},
		"a message delivered twice under one id": {func(a A, p P) (A, P) {
			twice := p[2].Messages[0]
			twice.Position = 2
			p[3].Messages, p[3].Cursor = []historycheck.Seen{twice}, 2
			return a, p
		}, "at position 1 and at 2"},
		"a message delivered twice under two ids": {func(a A, p P) (A, P) {
			p[3].Messages, p[3].Cursor = []historycheck.Seen{{Position: 2, MessageID: "m8", Sender: "alice", Content: "one"}}, 2
			return a, p
		}, "twice: as"},
		"a position skipped over":    {func(a A, p P) (A, P) { p[1].Skipped = nil; return a, p }, "not contiguous"},
		"a cursor that goes too far": {func(a A, p P) (A, P) { p[3].Cursor = 2; return a, p }, "to go on from 2"},
		"a message that came after the cursor had passed": {func(a A, p P) (A, P) {
			p[3].Skipped, p[3].Cursor = []int64{2}, 2
			return a, append(p, historycheck.Answer{Reader: "carol", After: 1, Cursor: 2, Messages: []historycheck.Seen{{Position: 2, MessageID: "m3", Sender: "alice", Content: "three"}}})
		}, `position 2 held "" and later "m3"`},
		"a message for somebody else": {func(a A, p P) (A, P) {
			p[3].Messages, p[3].Cursor = []historycheck.Seen{{Position: 2, MessageID: "m2", Sender: "alice", Content: "two"}}, 2
			return a, p
		}, "which is for [bob]"},
		"a message nobody sent": {func(a A, p P) (A, P) {
			p[3].Messages, p[3].Cursor = []historycheck.Seen{{Position: 2, MessageID: "m7", Sender: "alice", Content: "?"}}, 2
			return a, p
		}, "which nobody sent"},
		"a message under another sender's name": {func(a A, p P) (A, P) { p[0].Messages[0].Sender = "mallory"; return a, p }, "as one of mallory"},
		"an order that contradicts time": {func(a A, p P) (A, P) {
			a[1].Began, a[0].Began = 7, 7
			a[1].Ended = 8
			return a, p
		}, "acknowledged before it was sent"},
		"an answer out of order": {func(a A, p P) (A, P) {
			m := p[1].Messages
			m[0], m[1] = m[1], m[0]
			return a, p
		}, "after 3 in one answer"},
		"a start at the head that passes what was not committed yet": {func(a A, p P) (A, P) {
			a[1].Committed = 5
			return a, append(p, historycheck.Answer{Reader: "carol", After: 1, Cursor: 1, FromHead: true, At: 4})
		}, "carol began at the head, at 1, and is not given k1 of alice at 1"},
		"a message that is gone too early": {func(a A, p P) (A, P) {
			a[0].GoneAfter, a[1].GoneAfter = 10, 10
			return a, append(p, historycheck.Answer{Reader: "carol", After: 0, Cursor: 1, Skipped: []int64{1}, At: 9})
		}, `position 1 held "m1" and later ""`},
		"two positions for one reader's message": {func(a A, p P) (A, P) { p[1].Messages[0].MessageID = "m6"; return a, p }, "position 1 held"},
	} {
		t.Run(name, func(t *testing.T) {
			report := historycheck.Check(c.spoil(run()))
			require.NotEmpty(t, report.Faults)
			require.Contains(t, strings.Join(report.Faults, "\n"), c.want)
			require.Contains(t, report.String(), report.Faults[0])
		})
	}
}

func TestAMessageMayBeGoneWhenItsTimeIsOver(t *testing.T) {
	a, p := run()
	a[0].GoneAfter, a[1].GoneAfter = 10, 10
	gone := historycheck.Answer{Reader: "carol", After: 0, Cursor: 1, Skipped: []int64{1}, At: 10}
	require.Empty(t, historycheck.Check(a, append(p, gone)).Faults)
	require.Empty(t, historycheck.Check(a, append([]historycheck.Answer{gone}, p...)).Faults, "by a clock that is ahead")
	p[1].At = 11
	require.Empty(t, historycheck.Check(a, p[:2]).Faults, "carol was away until it was gone")
}

func TestWhoBeginsAtTheHeadNeedsNotBeGivenWhatWasCommittedBefore(t *testing.T) {
	a, p := run()
	a[1].Committed = 4
	require.Empty(t, historycheck.Check(a, append(p, historycheck.Answer{Reader: "carol", After: 1, Cursor: 1, FromHead: true, At: 4})).Faults)
}

func TestWhatMayBeGoneIsNotLookedForByWhoBeginsAtTheHead(t *testing.T) {
	a, p := run()
	a[1].Committed = 6
	began := historycheck.Answer{Reader: "carol", After: 1, Cursor: 1, FromHead: true, At: 5}
	require.NotEmpty(t, historycheck.Check(a, append(p, began)).Faults, "it was committed only later")
	a[0].GoneAfter, a[1].GoneAfter = 5, 5
	require.Empty(t, historycheck.Check(a, append(p, began)).Faults, "a node whose clock is ahead takes it for expired")
}

func TestOrderIsNotAskedForWhereTwoSequencersServed(t *testing.T) {
	attempts := []historycheck.Attempt{
		{Sender: "ann", Key: "k1", Content: "first", Recipients: []string{"ben"}, Began: 1, Ended: 2, Acknowledged: true, MessageID: "m1"},
		{Sender: "ann", Key: "k2", Content: "second", Recipients: []string{"ben"}, Began: 3, Ended: 4, Acknowledged: true, MessageID: "m2"},
	}
	answers := []historycheck.Answer{{Reader: "ben", Cursor: 2, Messages: []historycheck.Seen{
		{Position: 1, MessageID: "m2", Sender: "ann", Content: "second"}, {Position: 2, MessageID: "m1", Sender: "ann", Content: "first"},
	}}}
	require.Len(t, historycheck.Check(attempts, answers).Faults, 1)
	require.Empty(t, historycheck.CheckUnordered(attempts, answers).Faults)
	answers[0].Messages = answers[0].Messages[:1]
	require.NotEmpty(t, historycheck.CheckUnordered(attempts, answers).Faults)
}
