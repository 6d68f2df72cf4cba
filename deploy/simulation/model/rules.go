package model

// Rule is a rule of the protocol that can be broken on purpose, one at a time. What each is for is what the explorer finds without it:
// the tests have a case for each.
type Rule uint8

const (
	// None is no rule.
	None Rule = iota

	// Of the store.

	// PositionsWriteOnce says that an entry is refused where another stands.
	PositionsWriteOnce
	// OneEntryAMessage says that an inbox holds one entry for a message id. A second one is refused, and its writer is shown the
	// first.
	OneEntryAMessage
	// MessagesWriteOnce says that a message does not replace a tombstone, nor a tombstone a message.
	MessagesWriteOnce
	// DecidedEntriesSynced says that where prepared entries are written without a sync (Pebble), one whose id is decided already is
	// synced: readers pass it as soon as it stands.
	DecidedEntriesSynced

	// Of writers.

	// CommitBeforeAcknowledge says that a send is acknowledged, and announced, when its message is written, not before.
	CommitBeforeAcknowledge
	// RefusedCommitResolved says that a writer whose message is refused looks at what stands there. It may be a tombstone.
	RefusedCommitResolved
	// ExistingEntryKept says that an entry that the inbox holds already keeps its position, and that is the one announced.
	ExistingEntryKept
	// ForeignEntriesYield says that a writer that finds the entry of another content under its id does not commit.
	ForeignEntriesYield
	// NextIDNeedsTombstone says that a client message id goes on to its next message id only over a tombstone.
	NextIDNeedsTombstone
	// UnknownPositionsNotAnnounced says that a send that gave up while its entries were on their way does not know where they stand.
	// If its message turns out to be committed, by a repeat, it announces nothing of them.
	UnknownPositionsNotAnnounced

	// Of positions.

	// DoubtfulCountersRaised says that when the sequencer is another one, no counter is used before it is raised to the tail.
	DoubtfulCountersRaised
	// PredecessorsOutwaited says that as long as entries may be on their way whose positions the sequencer before gave, every send
	// raises the counter for itself: the tail does not tell of them yet.
	PredecessorsOutwaited
	// CountersNotLostAlone says that a counter that is in use is not lost but with all others, when the sequencer is another one.
	CountersNotLostAlone
	// GapsNotLeftAboveCounters says that without the sequencer an entry takes the position right above the tail. Beyond a free
	// position it would stand above what the counter gives next.
	GapsNotLeftAboveCounters

	// Of readers.

	// HolesSettled says that a reader passes a missing position below an entry only when a tombstone stands there.
	HolesSettled
	// PreparedSettled says that a reader passes an entry without its message only when a tombstone stands in the message's place.
	PreparedSettled
	// DigestsMatch says that an entry counts only with a message of the same content.
	DigestsMatch
	// LatestBelowUndecided says that the latest position is the last below which nothing is undecided, not the tail.
	LatestBelowUndecided
	// GoesOnBehindRemoved says that a reader below the end of what retention has removed goes on at that end.
	GoesOnBehindRemoved
	// NeverRewinds says that a reader that finds nothing where it stands does not begin anew.
	NeverRewinds

	// Of retention.

	// IDsKeptForRetention says that a message's id is kept for the retention, though its content may expire before.
	IDsKeptForRetention
	// EntriesOutliveIDs says that entries are kept for longer than message ids, so that a repeat which meets its id meets its
	// entries, too.
	EntriesOutliveIDs
	// OldEntriesReplaced says that a send does not commit over entries of long ago, which will go before its message does. It writes
	// a tombstone, and goes on with the next id.
	OldEntriesReplaced
	// PassedTombstonesRenewed says that who passes a tombstone makes it as young as what it is passed for: a writer, its message
	// under the next id; a reader, the entry that it passes.
	PassedTombstonesRenewed

	// What is taken for granted: nothing in the code can make it so.

	// TailsFresh says that the tail that a counter is raised to is not read from a replica that lags.
	TailsFresh
	// NothingUnderWayIsOld says that no writer is paused, and no write on its way, for as long as it takes an entry to count as long
	// past.
	NothingUnderWayIsOld

	lastRule = NothingUnderWayIsOld
)

var ruleNames = [...]string{
	"None",
	"PositionsWriteOnce",
	"OneEntryAMessage",
	"MessagesWriteOnce",
	"DecidedEntriesSynced",
	"CommitBeforeAcknowledge",
	"RefusedCommitResolved",
	"ExistingEntryKept",
	"ForeignEntriesYield",
	"NextIDNeedsTombstone",
	"UnknownPositionsNotAnnounced",
	"DoubtfulCountersRaised",
	"PredecessorsOutwaited",
	"CountersNotLostAlone",
	"GapsNotLeftAboveCounters",
	"HolesSettled",
	"PreparedSettled",
	"DigestsMatch",
	"LatestBelowUndecided",
	"GoesOnBehindRemoved",
	"NeverRewinds",
	"IDsKeptForRetention",
	"EntriesOutliveIDs",
	"OldEntriesReplaced",
	"PassedTombstonesRenewed",
	"TailsFresh",
	"NothingUnderWayIsOld",
}

func (r Rule) String() string { return ruleNames[r] }
