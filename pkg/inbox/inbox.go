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
	// ErrNotCommitted means that the send failed for all recipients, or that its fate is not known; either way a retry
	// with the same client message id is safe.
	ErrNotCommitted = errors.New("message not committed")
	// ErrOverloaded means that more sends are waiting than the queue holds; nothing was written.
	ErrOverloaded = batch.ErrFull
)

// Sequencer hands out positions. It may forget, repeat or skip them: the store refuses what is taken.
type Sequencer interface {
	// Next reserves the next position of each user, in one round trip; 0 for a user whose counter is missing. A user
	// who is listed twice gets two positions.
	Next(ctx context.Context, users []string) ([]int64, error)
	// Raise makes each user's counter at least the given position, creating it if need be, so that Next gives a higher one.
	Raise(ctx context.Context, floors map[string]int64) error
	// Incarnation is another number than before once the counters may have gone back. It is asked before and after Next.
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
	// Entries are the entries of all inboxes that hold the message, the sender's own included; none of a message that has
	// expired.
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
	StepCommit    Step = "commit"    // the message is committed, nobody has been told
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
	// PurgeMargin is by how much entries, and tombstones of messages, outlive the messages of their time, whatever the order in
	// which a store removes what is due, and clocks apart. A repeat that met a message and none of its entries would deliver it once
	// more; one that met the entries of a failed attempt and not its tombstone would commit that.
	PurgeMargin time.Duration
	// WriteTimeout is when a send gives up. It must be shorter than HoleTimeout.
	WriteTimeout time.Duration
	// HoleTimeout is how long a position may stay undecided before a reader decides it.
	HoleTimeout time.Duration
	// MaxClockSkew is how far the clocks of two nodes may be apart. An undecided position that this reader has not
	// itself watched for HoleTimeout counts as old only if the writer's clock says so by this much more.
	MaxClockSkew time.Duration
	// AloneSince is set where this process is the only writer there is: whatever was written before that moment and is
	// undecided was left by a process that is gone, and need not be waited for.
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
