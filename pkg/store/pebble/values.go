package pebble

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// layout is the first byte of every value with fields. A changed layout gets another byte, so that both can be read.
const layout = 1

// errBadValue means that this program did not write the value. Pebble's checksums detect corruption before.
var errBadValue = errors.New("a stored value cannot be read")

// reader reads the fields of a value in order. After an error it sets fault and returns zeros.
type reader struct {
	rest  []byte
	fault bool
}

func readValue(b []byte) reader {
	r := reader{rest: b}
	if r.byte() != layout {
		r.fault = true
	}
	return r
}

func (r *reader) err() error {
	if r.fault {
		return errBadValue
	}
	return nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fault, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fault, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fault, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) time() time.Time { return fromMillis(r.int()) }

func (r *reader) bytes() []byte { return r.take(int(min(r.uint(), uint64(len(r.rest)+1)))) }

func (r *reader) string() string { return string(r.bytes()) }

func appendTime(dst []byte, t time.Time) []byte { return binary.AppendVarint(dst, millis(t)) }

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// How a text is stored: as it is, or as the bytes that its base64 encodes. Ciphertexts come in base64, which is a third longer.
const (
	asText   = 0
	asBase64 = 1
)

// strict accepts only texts that re-encode to themselves.
var strict = base64.StdEncoding.Strict()

// appendText appends a text as the last field of a value.
func appendText(dst []byte, text string) []byte {
	if n := len(text); n > 0 && n%4 == 0 {
		was, most := len(dst)+1, strict.DecodedLen(n)
		dst = slices.Grow(append(dst, asBase64), most+n)
		room, copied := dst[was:was+most], dst[was+most:was+most+n]
		copy(copied, text)
		// Decode skips line breaks; the text then differs from the re-encoded one.
		if done, err := strict.Decode(room, copied); err == nil && strict.EncodedLen(done) == n {
			return dst[:was+done]
		}
		dst = dst[:was-1]
	}
	return append(append(dst, asText), text...)
}

// text reads what appendText wrote.
func (r *reader) text() string {
	kind := r.byte()
	rest := r.take(len(r.rest))
	if kind == asBase64 {
		return strict.EncodeToString(rest)
	}
	return string(rest)
}

// appendEntry appends the value of an entry: all but the owner and the position, which are in its key.
func appendEntry(dst []byte, e *store.Entry) []byte {
	dst = append(dst, layout, byte(e.Kind))
	dst = append(dst, e.Message[:]...)
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(e.Size)), uint64(e.KeyVersion))
	at := millis(e.At)
	dst = binary.AppendVarint(dst, at)
	dst = binary.AppendVarint(binary.AppendVarint(dst, millis(e.ExpiresAt)-at), millis(e.PurgeAt)-at)
	dst = appendReadAt(dst, e.ReadAt)
	return appendText(dst, e.WrappedKey)
}

// appendReadAt appends a time that may be zero.
func appendReadAt(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	return appendTime(append(dst, 1), t)
}

func (r *reader) readAt() time.Time {
	if r.byte() == 0 {
		return time.Time{}
	}
	return r.time()
}

func decodeEntry(user string, position int64, value []byte) (store.Entry, error) {
	r := readValue(value)
	e := r.entry()
	e.User, e.Position, e.WrappedKey = user, position, r.text()
	return e, r.err()
}

// decodeTimes is decodeEntry without the wrapped key: it copies nothing.
func decodeTimes(value []byte) (store.Entry, error) {
	r := readValue(value)
	e := r.entry()
	return e, r.err()
}

// entry reads the fields before an entry's wrapped key.
func (r *reader) entry() (e store.Entry) {
	e.Kind = store.EntryKind(r.byte())
	copy(e.Message[:], r.take(len(e.Message)))
	e.Size, e.KeyVersion = int(r.uint()), int(r.uint())
	at := r.int()
	e.At, e.ExpiresAt, e.PurgeAt = fromMillis(at), fromMillis(at+r.int()), fromMillis(at+r.int())
	e.ReadAt = r.readAt()
	return e
}

// The flags of a message's header.
const (
	flagTombstone = 1 << iota
	flagErased
	// flagContent means that the message was written with a content. If the content is missing, it has been erased.
	flagContent
)

// appendHeader appends a message without what is erased when it expires.
func appendHeader(dst []byte, m *store.Message, flags byte) []byte {
	dst = append(append(dst, layout, flags), m.Digest[:]...)
	created := millis(m.CreatedAt)
	dst = binary.AppendVarint(dst, created)
	dst = binary.AppendVarint(binary.AppendVarint(dst, millis(m.ExpiresAt)-created), millis(m.KeptUntil())-created)
	dst = binary.AppendUvarint(dst, uint64(m.SenderKeyVersion))
	dst = appendString(dst, m.Sender)
	return append(dst, m.ClientMessageID...)
}

func decodeHeader(id store.MessageID, value []byte) (m store.Message, flags byte, err error) {
	r := readValue(value)
	m, flags = r.header()
	m.ID, m.Sender = id, r.string()
	m.ClientMessageID = string(r.rest)
	return m, flags, r.err()
}

// decodeKept decodes only until when a message is kept: it copies nothing.
func decodeKept(value []byte) (time.Time, error) {
	r := readValue(value)
	m, _ := r.header()
	return m.PurgeAt, r.err()
}

// header reads the fields before a header's texts.
func (r *reader) header() (m store.Message, flags byte) {
	flags = r.byte()
	m.Tombstone, m.Erased = flags&flagTombstone != 0, flags&flagErased != 0
	copy(m.Digest[:], r.take(len(m.Digest)))
	created := r.int()
	m.CreatedAt, m.ExpiresAt, m.PurgeAt = fromMillis(created), fromMillis(created+r.int()), fromMillis(created+r.int())
	m.SenderKeyVersion = int(r.uint())
	return m, flags
}

// appendContent appends a whole message: its header and what is erased when it expires.
func appendContent(dst, header []byte, m *store.Message) []byte {
	dst = appendString(append(dst, layout), header)
	if m.Recipients == nil {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(m.Recipients))+1)
		for _, r := range m.Recipients {
			dst = appendString(dst, r)
		}
	}
	if m.Positions == nil {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(m.Positions))+1)
		for _, p := range m.Positions {
			dst = binary.AppendUvarint(dst, uint64(p))
		}
	}
	return appendText(appendString(dst, m.IV), m.Content)
}

// appendReheaded appends a content with its header replaced.
func appendReheaded(dst, header, value []byte) ([]byte, error) {
	r := readValue(value)
	r.bytes()
	return append(appendString(append(dst, layout), header), r.rest...), r.err()
}

func decodeContent(id store.MessageID, value []byte) (store.Message, error) {
	r := readValue(value)
	m, _, err := decodeHeader(id, r.bytes())
	if err != nil {
		return m, err
	}
	if n := r.uint(); n > 0 {
		m.Recipients = make([]string, min(n-1, uint64(len(r.rest))))
		for i := range m.Recipients {
			m.Recipients[i] = r.string()
		}
		r.fault = r.fault || uint64(len(m.Recipients)) != n-1
	}
	if n := r.uint(); n > 0 {
		m.Positions = make([]int64, min(n-1, uint64(len(r.rest))))
		for i := range m.Positions {
			m.Positions[i] = int64(r.uint())
		}
		r.fault = r.fault || uint64(len(m.Positions)) != n-1
	}
	m.IV = r.string()
	m.Content = r.text()
	return m, r.err()
}

// broken names the table of a value that cannot be read. The key may contain a user's name and is left out.
func broken(table byte, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("table %q: %w", table, err)
}
