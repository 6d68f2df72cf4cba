package password

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

const (
	composed   = "Zo\u00eb na\u00efve" // NFC
	decomposed = "Zoe\u0308 nai\u0308ve"
)

// hashAsBefore returns the hash that was stored before passwords were normalized.
func hashAsBefore(text string) string { return compute(cheap, text, randomBytes(saltBytes)).encode() }

func TestSpellingsOfOnePasswordAreOne(t *testing.T) {
	for text, want := range map[string]string{
		decomposed:                    composed,
		composed:                      composed,
		"a\u00a0b\u3000c\u2003d":      "a b c d",                     // spaces other than ASCII's
		"\u212b\u212a":                "\u00c5K",                     // the signs of Angstrom and Kelvin
		"\u1112\u1161\u11ab":          "\ud55c",                      // a Hangul syllable of three letters
		"Stra\u00dfe  \uff21 I\ufb01": "Stra\u00dfe  \uff21 I\ufb01", // case, repeated spaces, widths and ligatures are kept
	} {
		require.Equal(t, want, Normalized(text), "%+q", text)
	}
}

func TestWhatTheProfileRefusesIsHashedAsItIs(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                     "",
		"a control character":         decomposed + "\x00",
		"a line end":                  decomposed + "\n",
		"no UTF-8":                    decomposed + "\xff",
		"an invisible character":      decomposed + "\u200b",
		"a joined emoji":              decomposed + "\U0001f468\u200d\U0001f469",
		"an unassigned character":     decomposed + "\u0378",
		"longer than any password is": strings.Repeat(decomposed, 1000),
	} {
		require.Equal(t, text, Normalized(text), name)
	}
}

func TestAPasswordMatchesInEverySpelling(t *testing.T) {
	h := newHasher(t, cheap, nil)
	for _, registered := range []string{composed, decomposed} {
		hash, err := h.Hash(t.Context(), registered)
		require.NoError(t, err)
		for _, typed := range []string{composed, decomposed, strings.ReplaceAll(composed, " ", "\u00a0")} {
			match, outdated, err := h.Verify(t.Context(), typed, hash)
			require.NoError(t, err)
			require.True(t, match, "%+q", typed)
			require.False(t, outdated)
		}
		match, _, err := h.Verify(t.Context(), "Zoe naive", hash)
		require.NoError(t, err)
		require.False(t, match)
	}
}

func TestAHashOfTheTextItselfStillMatchesAndIsOutdated(t *testing.T) {
	h := newHasher(t, cheap, nil)
	for _, c := range []struct {
		stored, typed   string
		match, outdated bool
	}{
		{decomposed, decomposed, true, true},
		{decomposed, composed, false, false},
		{composed, composed, true, false},
		{composed, decomposed, true, false},
		{"correct horse", "correct horse", true, false},
		{decomposed + "\n", decomposed + "\n", true, false}, // what the profile refuses has no other form
	} {
		match, outdated, err := h.Verify(t.Context(), c.typed, hashAsBefore(c.stored))
		require.NoError(t, err)
		require.Equal(t, []bool{c.match, c.outdated}, []bool{match, outdated}, "%+q for %+q", c.typed, c.stored)
	}
}

func TestAnUnknownUsersPasswordCostsAsMuchAsAWrongOneInEverySpelling(t *testing.T) {
	for text, want := range map[string]uint64{"correct horse": 1, composed: 1, decomposed: 2, decomposed + "\x00": 1} {
		wrong, unknown := prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()
		match, _, err := newHasher(t, cheap, wrong).Verify(t.Context(), text, hashAsBefore("another"))
		require.NoError(t, err)
		require.False(t, match)
		require.NoError(t, newHasher(t, cheap, unknown).VerifyDummy(t.Context(), text))
		require.Equal(t, want, hashes(t, wrong), "%+q", text)
		require.Equal(t, want, hashes(t, unknown), "%+q", text)
	}
}

func FuzzANormalizedPasswordIsNormal(f *testing.F) {
	for _, text := range []string{composed, decomposed, "a\u3000b", "\u0344\u0958", "\xff", "\u1680\u2000"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := Normalized(text)
		require.Equal(t, once, Normalized(once), "%+q", text)
		require.Equal(t, text == "", once == "", "%+q", text)
		require.LessOrEqual(t, len(once), 3*len(text), "%+q", text)
		require.True(t, utf8.ValidString(once) || once == text, "%+q", text)
	})
}
