// Package fleet holds many polls open from several processes: one process has not the descriptors, nor one source
// address the ports, for as many as a server can hold. The worker processes are told what to do on standard input and
// tell how things stand on standard output, a line of JSON each time.
package fleet

import (
	"time"

	"github.com/sealpost/sealpost/pkg/load/check"
)

// Job is what a worker is told first.
type Job struct {
	// Servers are URLs; poll i uses the one at i modulo their number, and so with Sources, which are local addresses.
	Servers []string `json:"servers"`
	Sources []string `json:"sources"`
	// Users are the accounts; poll i is of the one at i modulo their number.
	Users []User `json:"users"`
	// First and Polls are which polls are this worker's.
	First int `json:"first"`
	Polls int `json:"polls"`
	// Streams has each of them read a stream instead of polling.
	Streams bool `json:"streams"`
	// Wait is how long each poll waits before it is made again.
	Wait time.Duration `json:"wait"`
	// Ramp is how long it takes until all connections have been opened.
	Ramp time.Duration `json:"ramp"`
}

// User is an account with a session, and where its inbox stands.
type User struct {
	Token  string `json:"token"`
	Cursor string `json:"cursor"`
}

// Order is what a worker is told later: to drop all connections, each at some time within Over, and to poll again.
type Order struct {
	Over time.Duration `json:"over"`
}

// News is what a worker tells, again and again.
type News struct {
	// Parked is how many polls have been open for longer than settle; Last is when the last of them was begun,
	// in nanoseconds since 1970. A poll that is made again on the same connection counts from the first.
	Parked int   `json:"parked"`
	Last   int64 `json:"last"`
	// Dropped is how many connections have been dropped by order.
	Dropped int64 `json:"dropped"`
	// Statuses counts the answers since the last news.
	Statuses map[string]int64 `json:"statuses,omitempty"`
	// Arrivals are the answers with messages since.
	Arrivals []Arrival `json:"arrivals,omitempty"`
}

// Arrival is an answer with messages that came to a poll.
type Arrival struct {
	Poll     int             `json:"poll"`
	Messages []check.Message `json:"messages,omitempty"`
	Skipped  []int64         `json:"skipped,omitempty"`
	// Position is that of the cursor.
	Position int64 `json:"position"`
	// At is when it came, in nanoseconds since 1970; the processes share a clock.
	At int64 `json:"at"`
}

const (
	// settle is how long a poll must not have been answered to count as parked: a refusal comes sooner.
	settle = 300 * time.Millisecond
	// newsEvery is how often a worker tells.
	newsEvery = 100 * time.Millisecond
)
