// Package answer parses the answers to polls and the events of streams almost without copying.
package answer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/pkg/api"
)

// Poll is a parsed answer. It is reused.
type Poll struct {
	Messages []check.Message
	// Skipped are the positions that are empty for the reader.
	Skipped []int64
	// Cursor is where to go on, Position the position in it.
	Cursor   string
	Position int64

	parser fastjson.Parser
}

// ErrReset means that the cursor is of another log than the server's.
var ErrReset = errors.New("the server said that its log is another one")

// Parse parses the body of a poll's answer. It copies only the position and the stamp of a message.
func (a *Poll) Parse(body []byte) error {
	v, err := a.parser.ParseBytes(body)
	if err != nil {
		return err
	}
	if string(v.GetStringBytes("type")) == api.PollReset {
		return ErrReset
	}
	a.Messages, a.Skipped = a.Messages[:0], a.Skipped[:0]
	for _, m := range v.GetArray("messages") {
		a.message(m)
	}
	a.skipped(v)
	a.Cursor = string(v.GetStringBytes("cursor"))
	a.Position, err = positionOf(a.Cursor)
	return err
}

// positionOf returns the position in a cursor, or a bare one.
func positionOf(cursor string) (int64, error) {
	position, err := strconv.ParseInt(cursor[strings.IndexByte(cursor, '.')+1:], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cursor: %w", err)
	}
	return position, nil
}

// ParseEvent parses an event of a stream, like a poll's answer with the content of that event.
func (a *Poll) ParseEvent(name, id string, data []byte) error {
	v, err := a.parser.ParseBytes(data)
	if err != nil {
		return err
	}
	a.Messages, a.Skipped = a.Messages[:0], a.Skipped[:0]
	switch name {
	case "":
		a.message(v)
	case "skipped":
		a.skipped(v)
	case "cursor": // the beginning of a stream on which there is nothing yet
	case api.PollReset:
		return ErrReset
	default:
		return fmt.Errorf("an event of an unknown kind: %s", name)
	}
	a.Cursor = id
	a.Position, err = positionOf(id)
	return err
}

func (a *Poll) message(m *fastjson.Value) {
	content := m.GetStringBytes("encryptedContent")
	stamp, _ := check.ParseStamp(string(content[:min(len(content), check.StampBytes)]))
	a.Messages = append(a.Messages, check.Message{Position: m.GetInt64("seq"), Stamp: stamp})
}

func (a *Poll) skipped(v *fastjson.Value) {
	for _, p := range v.GetArray("skipped") {
		a.Skipped = append(a.Skipped, p.GetInt64())
	}
}
