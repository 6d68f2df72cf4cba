package httpapi

import "strconv"

// lastChunk ends a chunked response (RFC 9112, section 7.1).
var lastChunk = []byte("0\r\n\r\n")

// chunk makes one chunk of what fill appends: about size bytes, at least one.
func chunk(size int, fill func([]byte) []byte) []byte {
	const room = 16 + 2 // for the length in hex digits, and a line end
	b := fill(make([]byte, room, room+size+2))
	var digits [16]byte
	length := strconv.AppendInt(digits[:0], int64(len(b)-room), 16)
	start := room - 2 - len(length)
	copy(b[start:], length)
	b[room-2], b[room-1] = '\r', '\n'
	return append(b, "\r\n"...)[start:]
}
