package inbox

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/pkg/store"
)

// clientMessageID derives the message id from the sender, the client's id and the number of failed attempts before. The store's write-once
// message id then makes sends idempotent, without another index.
func clientMessageID(sender, clientID string, attempt int) store.MessageID {
	f := newFields()
	f.add(store.Canonical(sender))
	f.add(clientID)
	f.gathered = binary.BigEndian.AppendUint32(f.gathered, uint32(attempt))
	return store.MessageID(f.sum()[:len(store.MessageID{})])
}

// digest identifies a send's content: the ciphertext, the iv, and each recipient with its wrapped key. d's recipients must be in canonical
// order.
func digest(d Draft) store.Digest {
	f := newFields()
	f.add(d.Content)
	f.add(d.IV)
	for _, r := range d.Recipients {
		f.add(store.Canonical(r.Username))
		f.add(r.WrappedKey)
	}
	return store.Digest(f.sum()[:len(store.Digest{})])
}

// fields hashes texts (SHA-256). It buffers them to avoid many small writes and copies.
type fields struct {
	hash     hash.Hash
	gathered []byte
}

// gatherFields is the size of that buffer in bytes.
const gatherFields = 4 << 10

func newFields() *fields { return &fields{sha256.New(), make([]byte, 0, gatherFields)} }

// add writes the length before the text, so that different lists of fields never hash the same input.
func (f *fields) add(text string) {
	if len(f.gathered)+8 > gatherFields {
		f.flush()
	}
	f.gathered = binary.BigEndian.AppendUint64(f.gathered, uint64(len(text)))
	for text != "" {
		if len(f.gathered) == gatherFields {
			f.flush()
		}
		n := min(len(text), gatherFields-len(f.gathered))
		f.gathered = append(f.gathered, text[:n]...)
		text = text[n:]
	}
}

func (f *fields) flush() {
	_, _ = f.hash.Write(f.gathered) // hash.Hash never fails
	f.gathered = f.gathered[:0]
}

func (f *fields) sum() []byte {
	f.flush()
	return f.hash.Sum(f.gathered)
}

func sortRecipients(recipients []Recipient) []Recipient {
	sorted := slices.Clone(recipients)
	slices.SortFunc(sorted, func(a, b Recipient) int {
		return strings.Compare(store.Canonical(a.Username), store.Canonical(b.Username))
	})
	return sorted
}
