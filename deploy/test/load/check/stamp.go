package check

import "strconv"

// StampBytes is the length of a stamp.
const StampBytes = 8 + 1 + 8 + 1 + 16

// Stamp is the beginning of a message's content and identifies its send.
type Stamp struct {
	// Run identifies the run, N the send in the run.
	Run, N uint32
	// At is the scheduled time of the send, in nanoseconds since 1970.
	At int64
}

// Append writes the stamp as text of StampBytes.
func (s Stamp) Append(b []byte) []byte {
	b = appendHex(b, uint64(s.Run), 8)
	b = append(b, '.')
	b = appendHex(b, uint64(s.N), 8)
	b = append(b, '.')
	return appendHex(b, uint64(s.At), 16)
}

func appendHex(b []byte, v uint64, digits int) []byte {
	const alphabet = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		b = append(b, alphabet[v>>(4*i)&15])
	}
	return b
}

// ParseStamp parses the stamp at the beginning of a content. It returns false if there is none.
func ParseStamp(content string) (Stamp, bool) {
	if len(content) < StampBytes || content[8] != '.' || content[17] != '.' {
		return Stamp{}, false
	}
	run, err := strconv.ParseUint(content[:8], 16, 32)
	if err != nil {
		return Stamp{}, false
	}
	n, err := strconv.ParseUint(content[9:17], 16, 32)
	if err != nil {
		return Stamp{}, false
	}
	at, err := strconv.ParseUint(content[18:StampBytes], 16, 64)
	if err != nil {
		return Stamp{}, false
	}
	return Stamp{Run: uint32(run), N: uint32(n), At: int64(at)}, true
}
