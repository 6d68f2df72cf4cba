package httpapi

import (
	"strconv"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/cursor"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// frame makes the JSON of an answer. The messages are JSON already and must not be decoded on their way, so it is written by hand;
// nothing else in it needs escaping.
func frame(a gateway.Answer, epoch string) []byte {
	kind := api.PollTimeout
	switch {
	case a.Reset:
		kind = api.PollReset
	case len(a.Objects) > 0:
		kind = api.PollMessages
	}
	size := 128 + 12*len(a.Skipped)
	for _, o := range a.Objects {
		size += o.JSON.Len() + 1
	}
	b := make([]byte, 0, size)
	b = append(b, `{"type":"`...)
	b = append(b, kind...)
	b = append(b, '"')
	if kind == api.PollMessages {
		b = append(b, `,"messages":[`...)
		for i, o := range a.Objects {
			if i > 0 {
				b = append(b, ',')
			}
			b = o.JSON.AppendTo(b)
		}
		b = append(b, ']')
	}
	b = appendSkipped(b, a.Skipped)
	b = append(b, `,"cursor":"`...)
	b = cursor.Cursor{Epoch: epoch, Position: a.Position}.AppendTo(b)
	return append(b, `"}`...)
}

func appendSkipped(b []byte, skipped []int64) []byte {
	if len(skipped) == 0 {
		return b
	}
	b = append(b, `,"skipped":[`...)
	for i, p := range skipped {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, p, 10)
	}
	return append(b, ']')
}

// legacyFrame makes the JSON of an answer for a client that takes one message per poll and keeps no cursor.
func legacyFrame(a gateway.Answer, epoch string) []byte {
	if len(a.Objects) == 0 {
		return []byte(`{"type":"` + api.PollTimeout + `"}`)
	}
	b := make([]byte, 0, a.Objects[0].JSON.Len()+128)
	b = append(b, `{"type":"`+api.PollMessage+`","data":`...)
	b = a.Objects[0].JSON.AppendTo(b)
	b = append(b, `,"cursor":"`...)
	b = cursor.Cursor{Epoch: epoch, Position: a.Position}.AppendTo(b)
	return append(b, `"}`...)
}
