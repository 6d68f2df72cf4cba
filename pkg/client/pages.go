package client

import (
	"errors"
	"time"
)

const (
	// mostPageBytes is how much a reader asks for at once where all goes well.
	mostPageBytes = 8 << 20
	// leastPageBytes is enough for a message of usual size. The server gives one message at least, whatever its size.
	leastPageBytes = 16 << 10
	// slowPage is how long the text of an answer may take before less is asked for.
	slowPage = 10 * time.Second
)

// pages finds out how many bytes of messages to ask for at once. Where the way to the server is slow, or where something on it cuts
// long answers off, a large page would be begun again and again and never be had.
type pages struct{ bytes int64 }

// learn adapts to a poll that ended with err, whose answer came in as t says.
func (p *pages) learn(t transfer, err error) {
	var broken *PathError
	switch {
	case err != nil && t.begun, t.took > slowPage: // cut off, or slow
		p.shrink(t.bytes)
	case errors.As(err, &broken): // perhaps because the server's answer was too large
		p.shrink(0)
	case err == nil && t.bytes >= p.bytes/2 && t.took < slowPage/4:
		p.bytes = min(2*p.bytes, mostPageBytes)
	}
}

// shrink asks for half of what was asked for, or of what has come, if that is known and less.
func (p *pages) shrink(came int64) {
	if came > 0 {
		p.bytes = min(p.bytes, came)
	}
	p.bytes = max(p.bytes/2, leastPageBytes)
}
