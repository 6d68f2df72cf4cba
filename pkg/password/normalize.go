package password

import (
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// maxNormalized is the longest text that is normalized, in bytes: more than any password takes in any spelling.
const maxNormalized = 4 << 10

// Normalized returns the form of a password that is hashed: the OpaqueString profile of PRECIS (RFC 8265, section 4.2), so that a
// password is the same whether a keyboard composes its accents (NFC) or not (NFD), and whichever space it types. A text that the
// profile refuses, for example for a control character, is returned as it is: such passwords are allowed here.
func Normalized(text string) string {
	if len(text) > maxNormalized || !utf8.ValidString(text) { // the library would take all invalid bytes for one character
		return text
	}
	normalized, err := precis.OpaqueString.String(text)
	if err != nil {
		return text
	}
	return normalized
}

// spellings returns what a stored hash of the password may have been made of, the likeliest first: its normalized form or, before
// passwords were normalized, the text itself.
func spellings(text string) []string {
	if normalized := Normalized(text); normalized != text {
		return []string{normalized, text}
	}
	return []string{text}
}
