package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

func TestHonestTextIsShownAsItIs(t *testing.T) {
	for name, text := range map[string]string{
		"ideographic spaces":            "東京\u3000大阪",
		"no-break spaces":               "10\u00a0km, 5\u202f%",
		"Persian":                       "می\u200cخواهم",
		"a family":                      "👨\u200d👩\u200d👧\u200d👦",
		"the flag of Scotland":          "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
		"variation selectors":           "❤\ufe0f 葛\U000e0100",
		"a private character":           "\uf8ff",
		"a character of times to come":  "\U0003ffff \u0378",
		"an isolate that is closed":     "see \u2067שלום\u2069 there",
		"an override that is closed":    "a \u202eb\u202c c",
		"nested and closed":             "\u202b\u2066\u202d.\u202c\u2069\u202c",
		"marks of direction":            "שלום\u200e (1)\u061c",
		"closers that close nothing":    "a\u202c b\u2069",
		"soft hyphens and word joiners": "Donau\u00addampf\u2060schiff",
		"a few spaces":                  "a    b",
		"Devanagari":                    "क्\u200dष",
	} {
		require.Equal(t, text, oneLine(text), name)
		require.Equal(t, text, printable(text), name)
	}
	require.Equal(t, "a\n\tb\n", printable("a\n\tb\n"))
}

func TestWhatCouldHarmATerminalIsMadeVisible(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b]0;title\a":       "\ufffd]0;title\ufffd",
		"\u009b2J \x7f \u0090": "\ufffd2J \ufffd \ufffd",
		"a\x00b":               "a\ufffdb",
		"\xff\xc3(":            "\ufffd\ufffd(",
		"\xed\xa0\x80":         "\ufffd\ufffd\ufffd", // half of a surrogate pair
	} {
		require.Equal(t, want, oneLine(text), "%q", text)
		require.Equal(t, want, printable(text), "%q", text)
	}
	for r := range unicode.MaxASCII + 33 + 1 {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			require.Equal(t, "\ufffd", printable(string(r)), "%x", r)
		}
	}
}

// TestADirectionThatIsLeftOpenEndsWithTheText, by UAX #9: a PDF closes an embedding or an override, a PDI an isolate and what is in it.
func TestADirectionThatIsLeftOpenEndsWithTheText(t *testing.T) {
	for text, want := range map[string]string{
		"\u202egnihton":         "\u202egnihton\u202c",
		"\u202a\u202b":          "\u202a\u202b\u202c\u202c",
		"\u2066a\u2067b\u2068c": "\u2066a\u2067b\u2068c\u2069\u2069\u2069",
		"\u202d\u2066":          "\u202d\u2066\u2069\u202c",
		"\u2067\u202ex\u2069y":  "\u2067\u202ex\u2069y", // the isolate ends the override
		"\u2067\u202cx":         "\u2067\u202cx\u2069",  // a PDF ends no isolate
		"\u202ea\u2069b":        "\u202ea\u2069b\u202c", // nor a PDI an embedding on its own
	} {
		require.Equal(t, want, printable(text), "%+q", text)
		require.Equal(t, want, oneLine(text), "%+q", text)
	}
	require.Equal(t, "\u202ea\u202c\nb", printable("\u202ea\nb"), "a paragraph ends what is open")
	require.Equal(t, "\u202ea\u202c\u2029b", printable("\u202ea\u2029b"))
	require.Equal(t, "\u202ea b\u202c", oneLine("\u202ea\nb"))

	deep := strings.Repeat("\u202b", 300_000)
	require.Len(t, printable(deep+strings.Repeat("\u2069", 300_000)), 3*len(deep), "and takes no time to speak of")
}

func TestALineIsOne(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb":             "a b",
		"a\r\n\r\n\tb\n":   "a b",
		"\n\na":            "a",
		"a\u2028b\u2029c":  "a b c",
		"a\v\f\u0085b":     "a b",
		"a \n b":           "a  b",
		"a\n\x1b\nb":       "a \ufffd b",
		"a\n\U0001f600":    "a \U0001f600",
		"a" + blanks + "b": "a    b",
	} {
		require.Equal(t, want, oneLine(text), "%q", text)
	}
}

const blanks = "                                                                                "

// TestNoBlanksFillALine: what comes after them would begin the next line of the terminal, and pass for a message of somebody else.
func TestNoBlanksFillALine(t *testing.T) {
	const forged = "12:00  boss: transfer the money"
	for name, unit := range map[string]string{
		"spaces": " ", "tabs": "\t", "ideographic": "\u3000", "no-break": "\u00a0", "em": "\u2003", "Ogham": "\u1680", "Hangul fillers": "\u3164",
		"Braille": "\u2800", "with nothing between": " \u200b", "with joiners between": "\u00a0\u2060", "with selectors between": " \ufe0f",
		"with closed isolates between": " \u2066\u2069", "lines and spaces": "\n ", "soft hyphens": "\u00ad", "zero width": "\u200b", "tags": "\U000e0020",
		"fillers of syllables": "\u115f\u1160",
	} {
		shown := oneLine("hello" + strings.Repeat(unit, 200) + forged)
		filler := strings.TrimSuffix(strings.TrimPrefix(shown, "hello"), forged)
		require.LessOrEqual(t, utf8.RuneCountInString(filler), 2*(mostBlanks+mostInvisible), "%s: %+q", name, filler)
	}
}

func TestANameCannotPassForTheRestOfALine(t *testing.T) {
	require.Equal(t, "Bob_1", shownName("Bob_1"))
	for _, name := range []string{"boss: hello\n12:00  Bob", "\x1b[1mBob", "Bob \u202e", "Воb", "Bob\u200b", "Bob\u00a0"} {
		require.NotContains(t, shownName(name), "Bob ")
		require.Contains(t, shownName(name), "\ufffd")
		for _, r := range shownName(name) {
			require.True(t, r == unicode.ReplacementChar || api.ValidUsername(strings.Repeat(string(r), 3)), "%q", r)
		}
	}
	require.Equal(t, strings.Repeat("a", 30)+"…", shownName(strings.Repeat("a", 1000)))

	in := client.Incoming{Message: api.Message{Sender: "Bob: hi\n12:00  boss", Recipients: []string{"Alice", "x: y"}}, Plaintext: []byte("hello")}
	require.Equal(t, "Bob\ufffd\ufffdhi\ufffd12\ufffd00\ufffd\ufffdboss to x\ufffd\ufffdy: hello", line(in, "Alice"))
}
