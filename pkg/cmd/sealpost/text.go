package main

import (
	"strings"
	"unicode"
)

const zeroWidthJoiner = '\u200d' // holds emoji together

// printable makes untrusted text safe to show on a terminal. It replaces with visible blanks control characters, which could move
// the cursor, change colours or answer for the user, and characters that change the direction of writing.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == zeroWidthJoiner || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// oneLine is printable text with blanks for line ends, so that it cannot pass for several messages.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(printable(text), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}
