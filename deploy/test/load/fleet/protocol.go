// Package fleet holds many polls open from several processes: one process does not have enough descriptors, nor one source address enough
// ports, for as many as a server can hold. Worker processes take orders on standard input and report on standard output, as lines of JSON.
package fleet

import (
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
)

// Job is the first message to a worker.
type Job struct {
	// Servers are URLs; poll i uses the one at i modulo their number. Sources are local addresses, chosen the same way.
	Servers []string `json:"servers"`
	Sources []string `json:"sources"`
	// Users are the accounts; poll i belongs to the one at i modulo their number.
	Users []User `json:"users"`
	// First and Polls select this worker's polls.
	First int `json:"first"`
	Polls int `json:"polls"`
	// Streams makes each of them read a stream instead of polling.
	Streams bool `json:"streams"`
	// Wait is how long each poll waits before it is repeated.
	Wait time.Duration `json:"wait"`
	// Ramp is how long it takes to open all connections.
	Ramp time.Duration `json:"ramp"`
}

// User is an account with a session, and the cursor of its inbox.
type User struct {
	Token  string `json:"token"`
	Cursor string `json:"cursor"`
}

// Order is a later message to a worker: drop all connections, each at some time within Over, and poll again.
type Order struct {
	Over time.Duration `json:"over"`
}

// News is a worker's periodic report.
type News struct {
	// Parked is the number of polls that have been open for longer than settle; Last is when the last of them began, in nanoseconds since
	// 1970. A poll repeated on the same connection counts from the first one.
	Parked int   `json:"parked"`
	Last   int64 `json:"last"`
	// Dropped is the number of connections dropped by order.
	Dropped int64 `json:"dropped"`
	// Statuses counts the answers since the last news.
	Statuses map[string]int64 `json:"statuses,omitempty"`
	// Arrivals are the answers with messages since the last news.
	Arrivals []Arrival `json:"arrivals,omitempty"`
}

// Arrival is an answer with messages to a poll.
type Arrival struct {
	Poll     int             `json:"poll"`
	Messages []check.Message `json:"messages,omitempty"`
	Skipped  []int64         `json:"skipped,omitempty"`
	// Position is that of the cursor.
	Position int64 `json:"position"`
	// At is when it arrived, in nanoseconds since 1970; the processes share a clock.
	At int64 `json:"at"`
}

const (
	// settle is how long a poll must be unanswered to count as parked: a refusal comes sooner.
	settle = 300 * time.Millisecond
	// newsEvery is the interval of a worker's reports.
	newsEvery = 100 * time.Millisecond
)
