package inbox

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// TestDigestsAreThoseOfTheFieldsOneAfterTheOther: for any field lengths. Stored digests depend on it.
func TestDigestsAreThoseOfTheFieldsOneAfterTheOther(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 3*gatherFields/16)
	for _, n := range []int{0, 1, 500, gatherFields - 17, gatherFields - 16, gatherFields - 9, gatherFields - 8, gatherFields - 7, gatherFields, gatherFields + 1, 2 * gatherFields, len(text)} {
		d := Draft{Content: text[:n], IV: "iv", Recipients: []Recipient{{Username: "Ann", WrappedKey: text[:n/2]}, {Username: "ben", WrappedKey: "k"}}}
		var all []byte
		for _, field := range []string{d.Content, d.IV, "ann", d.Recipients[0].WrappedKey, "ben", "k"} {
			all = append(binary.BigEndian.AppendUint64(all, uint64(len(field))), field...)
		}
		sum := sha256.Sum256(all)
		require.Equal(t, store.Digest(sum[:16]), digest(d), "%d bytes", n)
	}
	all := binary.BigEndian.AppendUint64(nil, 3)
	all = binary.BigEndian.AppendUint64(append(all, "ann"...), 1)
	all = binary.BigEndian.AppendUint32(append(all, "x"...), 7)
	sum := sha256.Sum256(all)
	require.Equal(t, store.MessageID(sum[:12]), clientMessageID("Ann", "x", 7))
}
