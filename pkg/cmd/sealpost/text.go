package main

import (
	"strings"
	"unicode"
)

const zeroWidthJoiner = '\u200d' // holds emoji together

// printable makes text of strangers safe to show on a terminal: control characters, with which it could move the
// cursor, recolour, or answer for the user, and characters that turn the direction of writing, become visible blanks.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == zeroWidthJoiner || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// oneLine is printable text with its line ends shown as blanks, so that it cannot pass for several messages.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(printable(text), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}
