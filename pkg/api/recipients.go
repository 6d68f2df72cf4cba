package api

import "encoding/json"

// WrappedKeys are the wrapped keys of a send, by recipient. Decoding stops at the first recipient beyond MaxRecipients: the rest of a body
// takes no memory.
type WrappedKeys map[string]string

// KeyVersions are the versions of the recipients' keys that a send was wrapped for. Decoding is bounded as that of WrappedKeys.
type KeyVersions map[string]int

var (
	errTooManyKeys     = InvalidField("recipientKeys", "must name 1 to 1024 recipients")
	errTooManyVersions = InvalidField("recipientKeyVersions", "must name at most 1024 recipients")
)

// UnmarshalJSON implements json.Unmarshaler.
func (k *WrappedKeys) UnmarshalJSON(text []byte) error {
	if hasMore(text, MaxRecipients-len(*k)) {
		return errTooManyKeys
	}
	return json.Unmarshal(text, (*map[string]string)(k))
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *KeyVersions) UnmarshalJSON(text []byte) error {
	if hasMore(text, MaxRecipients-len(*v)) {
		return errTooManyVersions
	}
	return json.Unmarshal(text, (*map[string]int)(v))
}

// hasMore reports whether well-formed JSON is an object of more than most members. It reads no further than that.
func hasMore(text []byte, most int) bool {
	depth, members, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\': // only in a string
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case c == ':' && depth == 1:
			if members++; members > most {
				return true
			}
		}
	}
	return false
}
