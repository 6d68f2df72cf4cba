// Package bus carries events between nodes: fire and forget, at most once. It may lose anything; whoever listens must
// be able to find out from the store.
package bus

import (
	"context"
	"errors"
)

// ErrDisconnected means that the bus has no connection at the moment.
var ErrDisconnected = errors.New("bus disconnected")

// Publisher sends events.
type Publisher interface {
	// Publish sends payload to whoever is subscribed to the user's inbox at this moment, and beside it the traces that its
	// events belong to: a W3C traceparent for each event, in their order, empty for one that is not sampled; nil if none
	// is. It does not wait, and nobody learns whether it arrived. It does not keep payload. Without a connection it
	// returns ErrDisconnected.
	Publish(user string, payload []byte, traces []string) error
	// PublishRoom sends payload to every Receiver, whoever is subscribed to what, as Publish does otherwise; a trace belongs to
	// each of its messages. It is for what many users share.
	PublishRoom(payload []byte, traces []string) error
	// Receivers is about how many Receivers hear what PublishRoom sends; 0 if that is not known.
	Receivers() int
	// Flush waits, until ctx ends, for the bus to say that it has taken everything that was published since Flush last
	// returned. An error, which wraps ErrDisconnected, means that any of it may be lost, and so may what was published until
	// Flush returned; a connection that was lost in between and is back is such an error, too. It is for one caller at a time.
	Flush(ctx context.Context) error
}

// Hinter is another way to tell the nodes that hold polls, for when the bus may have failed.
type Hinter interface {
	// Hint has every Receiver look for what is new for these users; for everybody, if none is named. An error means that
	// they may not have been told; without one they have, if they were listening.
	Hint(ctx context.Context, users []string) error
}

// Subscriber receives events.
type Subscriber interface {
	// Subscribe asks for the events of a user's inbox, to be handed to the Receiver. It waits a bounded time. Once it has returned nil, every
	// event published through the same server is handed over, unless the bus reports a disruption. With
	// ErrDisconnected the subscription exists all the same, and begins when the connection is back.
	Subscribe(ctx context.Context, user string) (Subscription, error)
	// Connected reports whether events can arrive at the moment.
	Connected() bool
}

// Subscription is one user's.
type Subscription interface {
	Unsubscribe() error
}

// Receiver is handed what a Subscriber receives. Its methods must not block.
type Receiver interface {
	// Receive is called for each payload, in the order of its publisher, with the traces that this has sent along. The
	// payload is the receiver's to keep.
	Receive(user string, payload []byte, traces []string)
	// ReceiveRoom is called for each payload of PublishRoom, in the same order with those of Receive. It returns for how many
	// users of the receiver's there was something in it. The payload is the receiver's until it returns.
	ReceiveRoom(payload []byte, traces []string) (users int)
	// Disrupted is called when events may have been lost, or the connection has come or gone.
	Disrupted()
	// Look is called when events of these users, given by their canonical names, may have been lost; of everybody, if
	// none is named.
	Look(users []string)
}

// KeyPublisher tells whose public keys have been replaced.
type KeyPublisher interface {
	// PublishKeyChange tells every KeyFollower that a user, given by the canonical name, has another key. It does not wait.
	PublishKeyChange(user string) error
}

// KeyFollower is told of public keys. Its methods must not block.
type KeyFollower interface {
	// KeyChanged is called when a user, given by the canonical name, has another key.
	KeyChanged(user string)
	// KeysMissed is called when such news may have been lost.
	KeysMissed()
}

// Directory lets nodes find each other.
type Directory interface {
	// Answer makes this node answer Ask with what describe returns. Calling stop ends that.
	Answer(describe func() []byte) (stop func() error, err error)
	// Ask returns the answers of all live nodes that come within a short time.
	Ask(ctx context.Context) ([][]byte, error)
}
