package cursor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/services/poll-gateway/internal/cursor"
)

func TestACursorIsReadBackAsWritten(t *testing.T) {
	for _, c := range []cursor.Cursor{{}, {Position: 42}, {Epoch: "k3x9", Position: 0}, {Epoch: "a", Position: 1<<63 - 1}} {
		again, err := cursor.Parse(c.String())
		require.NoError(t, err)
		require.Equal(t, c, again)
	}
}

func TestWhatIsNoCursorIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "1.5", "-1", "+1", " 1", "1 ", "01", "1.5.2", "x.", ".1", "x.-1", "x.1e3", "1e3", "0x1", "9223372036854775808",
		"99999999999999999999999", "LATEST", "A.1", "é.1", "a b.1", "x.1\n", "\x00", "x\x00.1",
	} {
		_, err := cursor.Parse(text)
		require.ErrorIs(t, err, cursor.ErrMalformed, "%q", text)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0", "42", "k3x9.42", "x.", "-1", "9223372036854775808"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := cursor.Parse(text)
		if err != nil {
			return
		}
		if c.Position < 0 {
			t.Fatalf("negative position from %q", text)
		}
		if c.String() != text {
			t.Fatalf("%q reads as %q", text, c.String())
		}
	})
}
