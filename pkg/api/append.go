package api

import (
	"encoding/json"
	"strconv"
	"time"
)

// What is encoded for every send and every delivery is appended, not reflected upon. The forms are those of encoding/json, but
// that it writes < > & in their escaped form, which means the same.

// AppendString appends text as a JSON string.
func AppendString(b []byte, text string) []byte {
	if !plain(text, true) {
		quoted, _ := json.Marshal(text) // a string: it cannot fail
		return append(b, quoted...)
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
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

// plain reports whether text is ASCII without control characters and backslashes; with inString, without quotes, too: then it
// stands for itself between the quotes of a JSON string. It looks at eight bytes at a time.
func plain(text string, inString bool) bool {
	quote := uint64(0) // stands for a byte that the others are refused for already
	if inString {
		quote = '"'
	}
	for len(text) >= 8 {
		x := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
		below := (x - ' '*eachByte) & ^x // its high bits are set where a byte is below a space
		backslash, q := x^'\\'*eachByte, x^quote*eachByte
		if (x|below|(backslash-eachByte)&^backslash|(q-eachByte)&^q)&highBits != 0 {
			return false
		}
		text = text[8:]
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > 0x7f || c == '\\' || uint64(c) == quote {
			return false
		}
	}
	return true
}
