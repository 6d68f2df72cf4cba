package store

import "context"

// Send is a message with all its entries. The entries have the message's id, and no two of them are for the same user.
type Send struct {
	Message Message
	Entries []Entry
}

// SendResult is the outcome of a send.
type SendResult struct {
	// Written means that the message is committed and all its entries are written. Otherwise nothing of the send was written, and the other
	// fields say why.
	Written bool
	// Decided means that the id is in use by a message or a tombstone.
	Decided bool
	// Taken reports for each entry, in order, whether its position holds another entry; nil if all were free.
	Taken []bool
}

// Committer is an optional port of a Log that can write entries and their message in one step: with one sync, and no moment in between. On
// other stores the entries are written first, then the messages.
type Committer interface {
	// Commit writes sends in their order, each whole or not at all. A refused send does not affect the others; of two that conflict, the
	// first is written. Results are in the order of the sends. When Commit returns, what it wrote is durable, and so is what caused a
	// refusal by id. Log's promises hold across both ways to write.
	Commit(ctx context.Context, sends []Send) ([]SendResult, error)
}
