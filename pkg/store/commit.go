package store

import "context"

// Send is a message with all entries that are to be written for it. The entries are of the message's id, no two of them are of one
// user.
type Send struct {
	Message Message
	Entries []Entry
}

// SendResult says what became of a send.
type SendResult struct {
	// Written means that the message is committed, and that all its entries stand. Else nothing of the send was written, and the rest tells why.
	Written bool
	// Decided means that the message's id is in use: a message or a tombstone stands there.
	Decided bool
	// Taken says of each entry, in their order, whether another one stands at its position; nil if all of them were free.
	Taken []bool
}

// Committer is an optional port of a Log that can write entries and their messages in one step, which is what a send is: with one
// sync, and with no moment in between. Others write the entries first, and then the messages.
type Committer interface {
	// Commit writes sends, each whole or not at all, in their order: one that is refused does not keep the others out, and of two that are in
	// each other's way the first is written. The results stand in the order of the sends. When it returns, what it wrote is durable,
	// and so is what stands under the ids that it was refused for. The promises of Log hold across both ways to write.
	Commit(ctx context.Context, sends []Send) ([]SendResult, error)
}
