package main

import (
	"strings"
	"unicode"
)

const (
	// mostBlanks is how many blanks may stand side by side in one line: more could fill a line of the terminal, and what comes after
	// them would begin the next one, as another message does.
	mostBlanks = 4
	// mostInvisible is how many characters without a width may stand side by side: some terminals show them as blanks. The longest
	// flag of a region that is in use has six.
	mostInvisible = 16
	// longestName is how long a username can be.
	longestName = 30
)

// The directional formatting characters of UAX #9, section 2: what opens an embedding or an override, what opens an isolate, and what
// closes them.
const (
	embedLeft, embedRight, closeEmbedding = '\u202a', '\u202b', '\u202c'
	overrideLeft, overrideRight           = '\u202d', '\u202e'
	isolateLeft, isolateRight             = '\u2066', '\u2067'
	isolateFirst, closeIsolate            = '\u2068', '\u2069'
	paragraphSeparator, lineSeparator     = '\u2029', '\u2028'
)

// printable makes untrusted text safe to show on a terminal, and leaves all else as it is. Control characters could move the cursor,
// change colours or answer for the user: they become visible. A direction of writing that is not ended where its paragraph ends could
// reorder what follows: it is ended.
func printable(text string) string {
	var out strings.Builder
	var open directions
	for _, r := range text { // what is not UTF-8 comes as the replacement character
		switch {
		case r == '\n' || r == paragraphSeparator:
			open.end(&out)
		case r != '\t' && unicode.IsControl(r):
			r = unicode.ReplacementChar
		default:
			open.pass(r)
		}
		out.WriteRune(r)
	}
	open.end(&out)
	return out.String()
}

// directions are the embeddings, overrides and isolates that are open at a place of a text.
type directions struct {
	// closers is what would close each, the outermost first.
	closers  []rune
	isolates int
}

// pass goes past a character, by the rules X1 to X8 of UAX #9.
func (d *directions) pass(r rune) {
	switch r {
	case embedLeft, embedRight, overrideLeft, overrideRight:
		d.closers = append(d.closers, closeEmbedding)
	case isolateLeft, isolateRight, isolateFirst:
		d.closers = append(d.closers, closeIsolate)
		d.isolates++
	case closeEmbedding:
		if n := len(d.closers); n > 0 && d.closers[n-1] == closeEmbedding {
			d.closers = d.closers[:n-1]
		}
	case closeIsolate:
		if d.isolates > 0 {
			n := len(d.closers) - 1
			for d.closers[n] != closeIsolate { // what was opened within the isolate ends with it
				n--
			}
			d.closers, d.isolates = d.closers[:n], d.isolates-1
		}
	}
}

// end closes all that is open.
func (d *directions) end(out *strings.Builder) {
	for i := len(d.closers) - 1; i >= 0; i-- {
		out.WriteRune(d.closers[i])
	}
	*d = directions{}
}

// oneLine is printable text as one line, which cannot pass for several messages: with a blank for the ends of its lines, and with no
// more than a few blanks or invisible characters side by side.
func oneLine(text string) string {
	var out strings.Builder
	blanks, invisible, ended := 0, 0, false
	for _, r := range text {
		switch {
		case endsLine(r):
			ended = true
			continue
		case isBlank(r):
			if blanks++; blanks > mostBlanks {
				continue
			}
		case isInvisible(r): // neither ends the blanks nor counts as one
			if invisible++; invisible > mostInvisible {
				continue
			}
		default:
			if ended && blanks == 0 && out.Len() > 0 {
				out.WriteByte(' ')
			}
			blanks, invisible, ended = 0, 0, false
		}
		out.WriteRune(r)
	}
	return printable(out.String())
}

// endsLine reports whether a character begins a new line, or moves to a column.
func endsLine(r rune) bool {
	return r == lineSeparator || r == paragraphSeparator || (unicode.IsControl(r) && unicode.IsSpace(r))
}

// isBlank reports whether a character takes room and shows nothing: besides the spaces, the fillers of Hangul and the empty pattern of
// Braille.
func isBlank(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800':
		return true
	}
	return unicode.IsSpace(r)
}

// isInvisible reports whether a character takes no room.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// shownName is a name as the server gives it, without what no username has: it could pass for the rest of a line.
func shownName(name string) string {
	var out strings.Builder
	n := 0
	for _, r := range name {
		if n++; n > longestName {
			return out.String() + "…"
		}
		if r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			r = unicode.ReplacementChar
		}
		out.WriteRune(r)
	}
	return out.String()
}
