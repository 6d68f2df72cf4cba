package httpserver

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf16"
)

// loneSurrogate returns where well-formed JSON has an escape of half a surrogate pair (RFC 8259, section 8.2); -1 if nowhere. Such a
// string is not text: encoding/json replaces the half, so that two different strings become the same.
func loneSurrogate(text []byte) int {
	for at := 0; ; {
		next := bytes.IndexByte(text[at:], '\\')
		if next < 0 {
			return -1
		}
		at += next
		r, escape := escaped(text[at:])
		switch {
		case !escape:
			at += 2
		case !utf16.IsSurrogate(r):
			at += 6
		default:
			low, _ := escaped(text[at+6:])
			if utf16.DecodeRune(r, low) == '\uFFFD' {
				return at
			}
			at += 12
		}
	}
}

// escaped reads an escape such as \u00e9 at the front of text.
func escaped(text []byte) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}

// fieldAt returns the name of the member of a well-formed JSON object that an offset lies in. What the members hold is not decoded: it may be
// large.
func fieldAt(object []byte, offset int) (name string) {
	depth, begin := 0, 0
	inString, expected := false, false // expected: the next string is the name of a member
	var quoted []byte
	for i := 0; i < len(object) && (i <= offset || (inString && expected)); i++ {
		switch c := object[i]; {
		case c == '\\': // only in a string
			i++
		case c == '"' && !inString:
			inString, begin = true, i
		case c == '"':
			if inString = false; expected && depth == 1 {
				quoted, expected = object[begin:i+1], false
			}
		case inString:
		case c == '{', c == '[':
			depth++
			expected = depth == 1
		case c == '}', c == ']':
			depth--
		case c == ',':
			expected = depth == 1
		}
	}
	_ = json.Unmarshal(quoted, &name) // it is a string
	return name
}
