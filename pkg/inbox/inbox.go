package inbox

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
)

var (
	// ErrNotFound means that there is no such message, or that it is neither the caller's nor addressed to it.
	ErrNotFound = errors.New("message not found")
	// ErrIdempotencyMismatch means that the client message id was used before with other content.
	ErrIdempotencyMismatch = errors.New("client message id used with other content")
	// ErrNotCommitted means that the send failed for all recipients, or that its outcome is unknown. Either way a retry with the same
	// client message id is safe.
	ErrNotCommitted = errors.New("message not committed")
	// ErrOverloaded means that more sends are waiting than the queue holds; nothing was written.
	ErrOverloaded = batch.ErrFull
)

// Sequencer hands out positions. It may forget, repeat or skip them: the store refuses a position that is taken.
type Sequencer interface {
	// Next reserves the next position of each user, in one round trip. It returns 0 for a user whose counter is missing. A user listed
	// twice gets two positions.
	Next(ctx context.Context, users []string) ([]int64, error)
	// Raise makes each user's counter at least the given position, and creates it if missing, so that Next returns a higher one.
	Raise(ctx context.Context, floors map[string]int64) error
	// Incarnation returns a different number once the counters may have gone back. Callers compare it before and after Next.
	Incarnation() uint64
}

// Recipient is one addressee of a draft.
type Recipient struct {
	// Username is the display name.
	Username   string
	WrappedKey string
	// KeyVersion is the version of the recipient's key that WrappedKey was made for; 0 if the sender did not say.
	KeyVersion int
}

// Draft is a message to be sent. Its names are known to be registered and no two of its recipients are the same.
type Draft struct {
	Sender           string
	SenderKeyVersion int
	Recipients       []Recipient
	Content          string
	IV               string
	// ClientMessageID makes the send idempotent; empty if the client gave none.
	ClientMessageID string
	// Lifetime is how long the message is shown: at most the retention, which 0 stands for.
	Lifetime time.Duration
}

// Receipt is what a successful send leaves behind.
type Receipt struct {
	Message store.Message
	// Entries are the message's entries in all inboxes, the sender's own included. Empty if the message has expired.
	Entries []store.Entry
	// Duplicate means that the message had been committed before, by a send with the same client message id.
	Duplicate bool
}

// Item is a committed message with the entry by which a user holds it.
type Item struct {
	Entry   store.Entry
	Message store.Message
}

// Unread reports whether the item is one its owner has received and not marked as read.
func (i Item) Unread() bool { return i.Entry.Kind == store.Received && i.Entry.ReadAt.IsZero() }

// Step is a point between two writes of a send.
type Step string

// The steps of a send, in order.
const (
	StepPositions Step = "positions" // positions are taken, nothing is written
	StepEntries   Step = "entries"   // the entries are prepared, the message is not there
	StepCommit    Step = "commit"    // the message is committed, nobody is notified yet
)

// Failpoint is called after each step of a send. In production it is nil; tests make it die or fail there. An error
// ends the send at once, with no cleaning up, as a crash would.
type Failpoint func(ctx context.Context, step Step) error

// Config is what a Log needs and what can be set.
type Config struct {
	Store     store.Log
	Sequencer Sequencer
	// Counters, if set, is used in place of Sequencer.
	Counters Counters
	Metrics  *Metrics
	// Retention is how long entries are kept, and messages at most.
	Retention time.Duration
	// PurgeMargin is how much longer entries and tombstones are kept than the messages of the same time. It covers clock differences and
	// any order in which a store removes what is due. Without it, a repeat that finds a message but no entries would deliver it again, and
	// one that finds the entries of a failed attempt but no tombstone would commit that attempt.
	PurgeMargin time.Duration
	// WriteTimeout is when a send gives up. It must be shorter than HoleTimeout.
	WriteTimeout time.Duration
	// HoleTimeout is how long a position may stay undecided before a reader decides it.
	HoleTimeout time.Duration
	// MaxClockSkew is how far the clocks of two nodes may be apart. A reader aborts an undecided position that it has not watched for
	// HoleTimeout only if the position's age by the writer's clock is at least HoleTimeout plus MaxClockSkew.
	MaxClockSkew time.Duration
	// AloneSince is set where this process is the only writer. Undecided positions from before that moment belong to a process that is
	// gone; readers do not wait for them.
	AloneSince time.Time
	// QueueLength is how many sends may wait for a group commit.
	QueueLength int
	Now         func() time.Time
	Failpoint   Failpoint
}

// The defaults of Config.
const (
	DefaultRetention    = 90 * 24 * time.Hour
	DefaultPurgeMargin  = time.Hour
	DefaultWriteTimeout = 3 * time.Second
	DefaultHoleTimeout  = 5 * time.Second
	DefaultMaxClockSkew = 2 * time.Minute
	DefaultQueueLength  = 4096
)

func (c Config) withDefaults() Config {
	setDefault(&c.Retention, DefaultRetention)
	setDefault(&c.PurgeMargin, DefaultPurgeMargin)
	setDefault(&c.WriteTimeout, DefaultWriteTimeout)
	setDefault(&c.HoleTimeout, DefaultHoleTimeout)
	setDefault(&c.MaxClockSkew, DefaultMaxClockSkew)
	setDefault(&c.QueueLength, DefaultQueueLength)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
