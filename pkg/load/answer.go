package load

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/load/check"
)

// answer is what a poll brought. It is used over and over.
type answer struct {
	parser   fastjson.Parser
	messages []check.Message
	skipped  []int64
	cursor   string
	position int64
}

var errReset = errors.New("the server said that its log is another one")

// parse reads the body of a poll's answer. Of a message nothing is copied but where it stands and its stamp.
func (a *answer) parse(body []byte) error {
	v, err := a.parser.ParseBytes(body)
	if err != nil {
		return err
	}
	if string(v.GetStringBytes("type")) == api.PollReset {
		return errReset
	}
	a.messages, a.skipped = a.messages[:0], a.skipped[:0]
	for _, m := range v.GetArray("messages") {
		content := m.GetStringBytes("encryptedContent")
		stamp, _ := check.ParseStamp(string(content[:min(len(content), check.StampBytes)]))
		a.messages = append(a.messages, check.Message{Position: m.GetInt64("seq"), Stamp: stamp})
	}
	for _, p := range v.GetArray("skipped") {
		a.skipped = append(a.skipped, p.GetInt64())
	}
	a.cursor = string(v.GetStringBytes("cursor"))
	a.position, err = strconv.ParseInt(a.cursor[strings.IndexByte(a.cursor, '.')+1:], 10, 64)
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	return nil
}
