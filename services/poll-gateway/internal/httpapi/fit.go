package httpapi

import "github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"

// fit shortens an answer to at most maxBytes of messages, but to no less than one. A client on a slow link asks for that: an answer that it
// cannot read to the end brings it nothing. 0 means any size.
func fit(a *gateway.Answer, maxBytes int64) {
	if maxBytes == 0 {
		return
	}
	size := int64(0)
	for i, o := range a.Objects {
		if size += int64(o.JSON.Len()); size <= maxBytes || i == 0 {
			continue
		}
		a.Objects, a.Shared = a.Objects[:i], nil
		a.Position = a.Objects[i-1].Position
		for n, skipped := range a.Skipped {
			if skipped > a.Position {
				a.Skipped = a.Skipped[:n]
				break
			}
		}
		return
	}
}
