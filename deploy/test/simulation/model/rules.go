package model

// Rule is a rule of the protocol that can be broken on purpose, one at a time. What the explorer finds without a rule shows what the rule
// is for: the tests have a case for each.
type Rule uint8

const (
	// None is no rule.
	None Rule = iota

	// Of the store.

	// PositionsWriteOnce says that an entry is refused where another stands.
	PositionsWriteOnce
	// MessagesWriteOnce says that a message does not replace a tombstone, nor a tombstone a message.
	MessagesWriteOnce
	// DecidedEntriesSynced says that where prepared entries are written without a sync (Pebble), an entry whose id is already decided is
	// synced: readers pass it as soon as it stands.
	DecidedEntriesSynced

	// Of writers.

	// CommitBeforeAcknowledge says that a send is acknowledged and announced only after its message is written.
	CommitBeforeAcknowledge
	// RefusedCommitResolved says that a writer whose message is refused looks at what stands there, which may be a tombstone.
	RefusedCommitResolved
	// NextIDNeedsTombstone says that a client message id moves on to its next message id only over a tombstone.
	NextIDNeedsTombstone
	// StandingPlacesAnnounced says that a writer whose message another attempt committed announces the places that the standing message
	// names, not its own.
	StandingPlacesAnnounced

	// Of positions.

	// DoubtfulCountersRaised says that after a change of the sequencer, every counter is raised to the tail before it is used.
	DoubtfulCountersRaised
	// PredecessorsOutwaited says that while entries may be under way with positions of the earlier sequencer, every send raises the counter
	// itself: the tail does not include them yet.
	PredecessorsOutwaited
	// CountersNotLostAlone says that a counter in use is lost only together with all others, when the sequencer changes.
	CountersNotLostAlone
	// GapsNotLeftAboveCounters says that without the sequencer an entry takes the position right above the tail. Beyond a free position it
	// would stand above what the counter gives next.
	GapsNotLeftAboveCounters

	// Of readers.

	// HolesFilled says that a reader passes a missing position below an entry only once a tombstone stands there.
	HolesFilled
	// PreparedAborted says that a reader passes an entry without its message only once a tombstone stands in the message's place.
	PreparedAborted
	// PlacesNamed says that an entry counts only if the message under its id names its place.
	PlacesNamed
	// LatestBelowUndecided says that the latest position is the last one below which all is decided, not the tail.
	LatestBelowUndecided
	// GoesOnBehindRemoved says that a reader inside the range that retention has removed goes on at its end.
	GoesOnBehindRemoved
	// NeverRewinds says that a reader that finds nothing at its cursor does not start over.
	NeverRewinds

	// Of retention.

	// IDsKeptForRetention says that a message's id is kept for the retention, even if its content expires before.
	IDsKeptForRetention
	// PassedTombstonesRenewed says that a writer that passes a tombstone makes it as young as its message under the next id.
	PassedTombstonesRenewed
	// DecidedOutliveEntries says that a reader that passes an entry makes what decides against it outlive it: a tombstone, or a message
	// that names another place. Else the entry's message could still be committed.
	DecidedOutliveEntries
	// KeptIsWhatWasRead says that a reader keeps what it has read. If that is gone and something else stands there, nothing was decided.
	KeptIsWhatWasRead

	// Assumptions that no code can guarantee.

	// TailsFresh says that the tail that a counter is raised to is not read from a replica that lags.
	TailsFresh
	// NothingUnderWayIsOld says that no writer is paused, and no write is under way, for as long as it takes an entry to count as long
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
	"HolesFilled",
	"PreparedAborted",
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
