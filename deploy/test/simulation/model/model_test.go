package model

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryRunOfEverySetupKeepsThePromises(t *testing.T) {
	for _, setup := range Setups() {
		t.Run(setup.Name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r := Explore(setup, None)
			t.Logf("%s: %d states, %d steps in %v", setup.Covers, r.States, r.Steps, time.Since(began).Round(time.Millisecond))
			require.Empty(t, r.Fault, "%s", told(r))
		})
	}
}

// told formats a counterexample for a reader.
func told(r Result) string {
	var b strings.Builder
	for i, line := range r.Trace {
		fmt.Fprintf(&b, "\n%3d. %s", i+1, line)
	}
	fmt.Fprintf(&b, "\n     %s", r.Fault)
	return b.String()
}

// The promises, as the explorer words them.
const (
	passed      = "a message stands at a position that readers have passed"
	notInAll    = "an acknowledged message is not in every inbox, once"
	failedAfter = "a message that readers were given has failed for others"
	twice       = "a message is delivered twice"
	twoIDs      = "one key is acknowledged as two messages"
	disorder    = "a message stands before one that had been acknowledged when it was sent"
	otherKey    = "a message is shown with the key of another"
	stuckReader = "a reader is stuck"
	onceMore    = "a reader is given once more what it had"
	noContent   = "a reader is given a message that has lost its content"
)

func TestEveryRuleIsNeeded(t *testing.T) {
	cases := []struct {
		rule         Rule
		setup, fault string
	}{
		{PositionsWriteOnce, "one inbox", notInAll},
		{MessagesWriteOnce, "one inbox", passed},
		{DecidedEntriesSynced, "power failure", passed},
		{CommitBeforeAcknowledge, "one inbox", notInAll},
		{RefusedCommitResolved, "one inbox", notInAll},
		{NextIDNeedsTombstone, "power failure", twoIDs},
		{StandingPlacesAnnounced, "a repeat", failedAfter},
		{DoubtfulCountersRaised, "order", disorder},
		{PredecessorsOutwaited, "order of three", disorder},
		{CountersNotLostAlone, "order of three", disorder},
		{GapsNotLeftAboveCounters, "order", disorder},
		{HolesFilled, "one inbox", passed},
		{PreparedAborted, "one inbox", passed},
		{PlacesNamed, "another content", otherKey},
		{LatestBelowUndecided, "one inbox", passed},
		{GoesOnBehindRemoved, "one old message", stuckReader},
		{NeverRewinds, "one old message", onceMore},
		{IDsKeptForRetention, "short life", twice},
		{PassedTombstonesRenewed, "late repeats", twoIDs},
		{DecidedOutliveEntries, "late repeat", passed},
		{KeptIsWhatWasRead, "late repeat", passed},
		{TailsFresh, "order", disorder},
		{NothingUnderWayIsOld, "one old message", notInAll},
	}
	require.Len(t, cases, int(lastRule), "a case for each rule")
	for _, c := range cases {
		t.Run(c.rule.String(), func(t *testing.T) {
			t.Parallel()
			r := Explore(named(t, c.setup), c.rule)
			t.Logf("found after %d states:%s", r.States, told(r))
			require.Equal(t, c.fault, r.Fault)
		})
	}
}

func named(t *testing.T, name string) Setup {
	t.Helper()
	for _, s := range Setups() {
		if s.Name == name {
			return s
		}
	}
	require.Fail(t, "no such setup", name)
	return Setup{}
}

func TestACounterexampleIsTheShortestWayInWords(t *testing.T) {
	r := Explore(named(t, "one inbox"), HolesFilled)
	require.Equal(t, []string{
		"writer 0 begins to send content 0 under key 0",
		"writer 1 begins to send content 0 under key 1",
		"the entry of writer 0 is written at 2 of inbox 0",
		"reader 0 of inbox 0 passes the hole up to 1",
		"the entry of writer 1 is written at 1 of inbox 0",
		"the message of writer 1 is written under id 2",
	}, r.Trace)
}

func TestWhatIsTakenForOneIsOne(t *testing.T) {
	for _, rule := range []Rule{None, HolesFilled, PreparedAborted, RefusedCommitResolved, LatestBelowUndecided} {
		whole := named(t, "one inbox")
		whole.Writers[1].Node = 1 // without a counter, that is all the same; but the writers are not alike
		half, all := Explore(named(t, "one inbox"), rule), Explore(whole, rule)
		assert.Equal(t, all.Fault, half.Fault, rule.String())
		assert.Len(t, half.Trace, len(all.Trace), rule.String())
		assert.Less(t, half.States, all.States, rule.String())
	}
}
