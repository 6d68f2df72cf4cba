package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// What is encoded for every send and every delivery is appended without reflection. The result equals encoding/json's.

// AppendString appends text as a JSON string.
func AppendString[T string | []byte](b []byte, text T) []byte {
	if !plain(text) || special(text) {
		quoted, _ := json.Marshal(string(text)) // a string: it cannot fail
		return append(b, quoted...)
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

// special reports whether text has a character that is plain but escaped. Searching for one at a time is faster than for any.
func special[T string | []byte](text T) bool {
	for _, c := range [...]byte{'"', '<', '>', '&'} {
		switch t := any(text).(type) {
		case string:
			if strings.IndexByte(t, c) >= 0 {
				return true
			}
		case []byte:
			if bytes.IndexByte(t, c) >= 0 {
				return true
			}
		}
	}
	return false
}

// AppendTime appends a moment as MarshalJSON of Time writes it.
func AppendTime(b []byte, at time.Time) []byte {
	b = append(b, '"')
	b = At(at).AppendFormat(b, timeLayout)
	return append(b, '"')
}

// AppendJSON appends the acknowledgement as encoding/json writes it.
func (r SendResponse) AppendJSON(b []byte) []byte {
	b = append(b, `{"message":`...)
	b = AppendString(b, r.Message)
	b = append(b, `,"messageId":`...)
	b = AppendString(b, r.MessageID)
	b = append(b, `,"timestamp":`...)
	b = AppendTime(b, r.Timestamp.Time)
	if r.Duplicate {
		b = append(b, `,"duplicate":`...)
		b = strconv.AppendBool(b, true)
	}
	return append(b, '}')
}

const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
)

// plain reports whether text is ASCII without control characters and backslashes. It looks at eight bytes at a time.
func plain[T string | []byte](text T) bool {
	for len(text) >= 8 {
		x := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
		below := (x - ' '*eachByte) & ^x // its high bits are set where a byte is below a space
		backslash := x ^ '\\'*eachByte
		if (x|below|(backslash-eachByte)&^backslash)&highBits != 0 {
			return false
		}
		text = text[8:]
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > 0x7f || c == '\\' {
			return false
		}
	}
	return true
}
