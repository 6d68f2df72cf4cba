// Package cursor formats and parses cursors: the text with which a client remembers how far it has read its inbox.
package cursor

import (
	"errors"
	"strconv"
	"strings"
)

// ErrMalformed means that a text is not a cursor.
var ErrMalformed = errors.New("malformed cursor")

// Latest is the text that asks for the inbox's head.
const Latest = "latest"

// maxEpochChars limits the epoch part; the store's epochs are much shorter.
const maxEpochChars = 64

// Cursor is a position in an epoch of the log. An empty Epoch means the current one.
type Cursor struct {
	Epoch    string
	Position int64
}

// String formats the cursor for Parse.
func (c Cursor) String() string { return string(c.AppendTo(nil)) }

// AppendTo appends the cursor's text.
func (c Cursor) AppendTo(b []byte) []byte {
	if c.Epoch != "" {
		b = append(append(b, c.Epoch...), '.')
	}
	return strconv.AppendInt(b, c.Position, 10)
}

// Parse reads "<epoch>.<position>" or a bare position.
func Parse(text string) (Cursor, error) {
	epoch, digits, found := strings.Cut(text, ".")
	if !found {
		epoch, digits = "", text
	} else if !validEpoch(epoch) {
		return Cursor{}, ErrMalformed
	}
	position, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || strconv.FormatUint(position, 10) != digits {
		return Cursor{}, ErrMalformed
	}
	return Cursor{Epoch: epoch, Position: int64(position)}, nil
}

// validEpoch requires a letter first, so that a decimal number is not accepted as a cursor.
func validEpoch(s string) bool {
	if s == "" || len(s) > maxEpochChars || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return true
}
