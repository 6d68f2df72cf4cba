// Package bus carries events between nodes, at most once. It may lose any event; a receiver must be able to find everything in the store.
package bus

import (
	"context"
	"errors"
)

// ErrDisconnected means that the bus has no connection at the moment.
var ErrDisconnected = errors.New("bus disconnected")

// Publisher sends events.
type Publisher interface {
	// Publish sends payload to all subscribers of the user's inbox. traces are the W3C traceparents of its events, in their order, empty for
	// an event that is not sampled; nil if none is. Publish does not wait for subscribers and does not tell whether the payload
	// arrived; while the connection takes no bytes it blocks for a moment, bounded by the adapter. It does not keep
	// payload. Without a connection it returns ErrDisconnected.
	Publish(user string, payload []byte, traces []string) error
	// PublishRoom sends payload to every Receiver, regardless of subscriptions, and otherwise like Publish; there is a trace for each
	// message of the payload. It is for messages that many users share.
	PublishRoom(payload []byte, traces []string) error
	// Receivers returns about how many Receivers get what PublishRoom sends; 0 if that is not known.
	Receivers() int
	// Flush waits until the bus confirms everything published since Flush last returned, or until ctx ends. An error wraps ErrDisconnected,
	// and means that any of that may be lost, and so may what is published until Flush returns. A connection that was lost in between and is
	// back is such an error too. Only one caller at a time may use it.
	Flush(ctx context.Context) error
}

// Hinter is a second way to reach the nodes with polls, for when the bus may have failed.
type Hinter interface {
	// Hint makes every Receiver look for new events of these users; of all users, if none is named. After an error it is not known whether
	// they were told. Without one, those that were listening have been told.
	Hint(ctx context.Context, users []string) error
}

// Subscriber receives events.
type Subscriber interface {
	// Subscribe requests the events of a user's inbox for the Receiver. It waits for a bounded time. After it has returned nil, the Receiver
	// gets every event published through the same server, unless the bus reports a disruption. With ErrDisconnected the subscription exists
	// all the same, and begins when the connection is back.
	Subscribe(ctx context.Context, user string) (Subscription, error)
	// Connected reports whether events can arrive at the moment.
	Connected() bool
}

// Subscription is a user's subscription.
type Subscription interface {
	Unsubscribe() error
}

// Receiver gets what a Subscriber receives. Its methods must not block.
type Receiver interface {
	// Receive is called for each payload, in the order of its publisher, with the traces sent with it. The receiver may keep the payload.
	Receive(user string, payload []byte, traces []string)
	// ReceiveRoom is called for each payload of PublishRoom, in one order with the calls of Receive. It returns how many of the receiver's
	// users were in it. It must not keep the payload after it returns.
	ReceiveRoom(payload []byte, traces []string) (users int)
	// Disrupted is called when events may have been lost, or the connection was lost or is back.
	Disrupted()
	// Hinted is called when events of these users, given by their canonical names, may have been lost; events of all users, if none is named.
	Hinted(users []string)
}

// KeyPublisher announces changes of public keys.
type KeyPublisher interface {
	// PublishKeyChange tells every KeyFollower that a user, given by the canonical name, has a new key. It does not wait.
	PublishKeyChange(user string) error
}

// KeyFollower follows changes of public keys. Its methods must not block.
type KeyFollower interface {
	// KeyChanged is called when a user, given by the canonical name, has a new key.
	KeyChanged(user string)
	// KeysMissed is called when calls of KeyChanged may have been lost.
	KeysMissed()
}

// Directory lets nodes find each other.
type Directory interface {
	// Answer registers describe as this node's answer to Ask, until stop is called.
	Answer(describe func() []byte) (stop func() error, err error)
	// Ask returns the answers of the live nodes that come within a short time.
	Ask(ctx context.Context) ([][]byte, error)
}
