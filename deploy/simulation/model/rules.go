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
	// NextIDNeedsTombstone says that a client message id goes on to its next message id only over a tombstone.
	NextIDNeedsTombstone
	// StandingPlacesAnnounced says that a writer whose message was committed by another attempt announces the places that the standing
	// message names, not its own.
	StandingPlacesAnnounced

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
	// PlacesNamed says that an entry counts only if the message under its id names its place.
	PlacesNamed
	// LatestBelowUndecided says that the latest position is the last below which nothing is undecided, not the tail.
	LatestBelowUndecided
	// GoesOnBehindRemoved says that a reader below the end of what retention has removed goes on at that end.
	GoesOnBehindRemoved
	// NeverRewinds says that a reader that finds nothing where it stands does not begin anew.
	NeverRewinds

	// Of retention.

	// IDsKeptForRetention says that a message's id is kept for the retention, though its content may expire before.
	IDsKeptForRetention
	// PassedTombstonesRenewed says that a writer which passes a tombstone makes it as young as its message under the next id.
	PassedTombstonesRenewed
	// DecidedOutliveEntries says that a reader which passes an entry makes what decides against it outlive it: a tombstone, or a
	// message that names another place. Else the entry's message could be committed after all.
	DecidedOutliveEntries
	// KeptIsWhatWasRead says that what is kept is what was read. If that has gone, and something else stands there, nothing was decided.
	KeptIsWhatWasRead

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
	"MessagesWriteOnce",
	"DecidedEntriesSynced",
	"CommitBeforeAcknowledge",
	"RefusedCommitResolved",
	"NextIDNeedsTombstone",
	"StandingPlacesAnnounced",
	"DoubtfulCountersRaised",
	"PredecessorsOutwaited",
	"CountersNotLostAlone",
	"GapsNotLeftAboveCounters",
	"HolesSettled",
	"PreparedSettled",
	"PlacesNamed",
	"LatestBelowUndecided",
	"GoesOnBehindRemoved",
	"NeverRewinds",
	"IDsKeptForRetention",
	"PassedTombstonesRenewed",
	"DecidedOutliveEntries",
	"KeptIsWhatWasRead",
	"TailsFresh",
	"NothingUnderWayIsOld",
}

func (r Rule) String() string { return ruleNames[r] }
