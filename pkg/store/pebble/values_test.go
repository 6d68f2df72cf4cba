package pebble

import (
	"bytes"
	"encoding/base64"
	"math"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// FuzzTextsAreReadBack: any text is read back unchanged, and base64 takes less space than its text.
func FuzzTextsAreReadBack(f *testing.F) {
	for _, text := range []string{"", "AAAA", "AAA=", "AA==", "AB==", "A===", "====", "AAAA\n", "AA\nAA\r\n\n", "AAA\n", "-_-_", "äöü!", "text"} {
		f.Add(text, "")
	}
	f.Fuzz(func(t *testing.T, text, before string) {
		value := appendText([]byte(before), text)
		require.Equal(t, before, string(value[:len(before)]))
		r := reader{rest: value[len(before):]}
		require.Equal(t, text, r.text())
		require.NoError(t, r.err())
		coded := base64.StdEncoding.EncodeToString([]byte(text))
		require.LessOrEqual(t, len(appendText(nil, coded)), len(text)+1)
	})
}

// FuzzValuesThatAreDamagedAreToldOf: a damaged value causes an error at most, never a panic.
func FuzzValuesThatAreDamagedAreToldOf(f *testing.F) {
	m := store.Message{Sender: "Ann", Recipients: []string{"Bob", "Carol"}, Positions: []int64{7, 1 << 40, 1}, Content: "text", IV: "iv", CreatedAt: time.Now()}
	header := appendHeader(nil, &m, flagContent)
	f.Add(header)
	f.Add(appendContent(nil, header, &m))
	f.Add(appendEntry(nil, &store.Entry{WrappedKey: "AAAA", At: time.Now(), ReadAt: time.Now()}))
	f.Add(cursorValue(store.SessionCursor{Epoch: "e", Position: 1}))
	f.Add((&account{Account: store.Account{Username: "bob"}}).value())
	f.Fuzz(func(_ *testing.T, value []byte) {
		_, _, _ = decodeHeader(store.MessageID{}, value)
		_, _ = decodeContent(store.MessageID{}, value)
		_, _ = decodeEntry("bob", 1, value)
		_, _ = decodeTimes(value)
		_, _ = decodeKept(value)
		_, _ = appendReheaded(nil, header, value)
		_, _ = decodeCursor(value)
		_, _ = decodeAccount(value)
		_, _ = decodeKey(1, value)
		_, _ = number(value)
	})
}

func TestACutValueIsNotTakenForAWholeOne(t *testing.T) {
	m := store.Message{Sender: "Ann", Recipients: []string{"Bob", "Carol"}, Positions: []int64{7, 1 << 40, 1}, Content: "text!", IV: "iv", CreatedAt: time.Now(), ClientMessageID: "c"}
	header := appendHeader(nil, &m, flagContent)
	content := appendContent(nil, header, &m)
	for n := range len(content) - len("text!") {
		_, err := decodeContent(m.ID, content[:n])
		require.ErrorIs(t, err, errBadValue, "%d bytes", n)
	}
	_, err := decodeContent(m.ID, append([]byte{layout + 1}, content[1:]...))
	require.ErrorIs(t, err, errBadValue, "of another layout")
}

// TestAMessageIsReadBackAsItWasWritten: also with a replaced header, and with nil for what it does not have.
func TestAMessageIsReadBackAsItWasWritten(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	for _, c := range []struct {
		recipients []string
		positions  []int64
	}{
		{nil, nil}, {[]string{}, []int64{}}, {nil, []int64{1}}, {[]string{"Bob"}, nil}, {[]string{"Bob"}, []int64{5, 1 << 62}},
		{[]string{"Bob", ""}, []int64{0, 128, math.MaxInt64, -1}},
	} {
		m := store.Message{
			ID: bytesID(3), Sender: "Ann", SenderKeyVersion: 300, Recipients: c.recipients, Positions: c.positions, Content: "text!", IV: "iv", ClientMessageID: "c",
			Digest: store.Digest{15: 1}, CreatedAt: at, ExpiresAt: at.Add(time.Hour), PurgeAt: at.Add(2 * time.Hour),
		}
		value := appendContent(nil, appendHeader(nil, &m, flagContent), &m)
		got, err := decodeContent(m.ID, value)
		require.NoError(t, err)
		require.Equal(t, m, got)
		m.PurgeAt = at.Add(1000 * time.Hour)
		header := appendHeader(nil, &m, flagContent)
		value, err = appendReheaded(nil, header, value)
		require.NoError(t, err)
		got, err = decodeContent(m.ID, value)
		require.NoError(t, err)
		require.Equal(t, m, got)
		kept, err := decodeKept(header)
		require.NoError(t, err)
		require.Equal(t, m.PurgeAt, kept)
	}
}

// TestKeysAreOrderedByTheirPrefixesFirst: Pebble requires this of a comparer that splits keys.
func TestKeysAreOrderedByTheirPrefixesFirst(t *testing.T) {
	var keys [][]byte
	ids := []store.MessageID{{}, {1}, {11: 1}, bytesID(255)}
	for _, user := range []string{"", "a", "ab", "b", "bo", "bob", "bobby", "ÿ"} {
		for _, position := range []int64{0, 1, 255, 256, 1 << 40} {
			keys = append(keys, entryKey(nil, user, position))
		}
		keys = append(keys, nameKey(tableAccounts, user), keyKey(user, 1), keyKey(user, 300), sessionKey(user, "s"), sessionKey(user, ""), nameKey(tableTails, user))
		for _, due := range []int64{-3, -1, 0, 1, 1 << 40} {
			keys = append(keys, entryPurgeKey(nil, due, user))
		}
	}
	for _, id := range ids {
		keys = append(keys, headerKey(nil, id), contentKey(nil, -1, id), contentKey(nil, 5, id), messagePurgeKey(nil, 1<<40, id))
	}
	for _, a := range keys {
		n := comparer.Split(a)
		require.LessOrEqual(t, comparer.Compare(a[:n], a), 0)
		require.Equal(t, n, comparer.Split(a[:n]), "a prefix is its own: %x", a)
		next := comparer.ImmediateSuccessor(nil, a[:n])
		require.Positive(t, comparer.Compare(next, a), "%x after %x", next, a)
		for _, b := range keys {
			prefixes := bytes.Compare(a[:n], b[:comparer.Split(b)])
			require.False(t, comparer.Compare(a, b) <= 0 && prefixes > 0, "%x %x", a, b)
			require.False(t, prefixes < 0 && comparer.Compare(a, b) >= 0, "%x %x", a, b)
		}
	}
	require.NotEqual(t, engine.DefaultComparer.Name, comparer.Name)
}

func bytesID(b byte) (id store.MessageID) {
	for i := range id {
		id[i] = b
	}
	return id
}
