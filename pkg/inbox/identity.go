package inbox

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/pkg/store"
)

// clientMessageID derives the id of a message from who sends it, the client's own id for it, and how often that has
// failed before: so the store's write-once message id is the idempotency, with no other index.
func clientMessageID(sender, clientID string, attempt int) store.MessageID {
	h := sha256.New()
	writeField(h, store.Canonical(sender))
	writeField(h, clientID)
	_ = binary.Write(h, binary.BigEndian, uint32(attempt))
	return store.MessageID(h.Sum(nil)[:len(store.MessageID{})])
}

// digest tells one send's content from another's: the ciphertext, the iv, and who is given which wrapped key. d's
// recipients are in canonical order.
func digest(d Draft) store.Digest {
	h := sha256.New()
	writeField(h, d.Content)
	writeField(h, d.IV)
	for _, r := range d.Recipients {
		writeField(h, store.Canonical(r.Username))
		writeField(h, r.WrappedKey)
	}
	return store.Digest(h.Sum(nil)[:len(store.Digest{})])
}

// writeField writes a length before the text, so that no two lists of fields hash alike.
func writeField(h hash.Hash, text string) {
	_ = binary.Write(h, binary.BigEndian, uint64(len(text)))
	_, _ = h.Write([]byte(text))
}

func sortRecipients(recipients []Recipient) []Recipient {
	sorted := slices.Clone(recipients)
	slices.SortFunc(sorted, func(a, b Recipient) int {
		return strings.Compare(store.Canonical(a.Username), store.Canonical(b.Username))
	})
	return sorted
}
