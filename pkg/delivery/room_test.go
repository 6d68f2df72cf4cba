package delivery_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/store"
)

// whole is a limit that no room of these tests reaches.
const whole = 1 << 20

// opened returns the events in a payload of rooms, by user.
func opened(t testing.TB, payload []byte) map[string]delivery.Event {
	t.Helper()
	rooms, err := delivery.DecodeRooms(payload)
	require.NoError(t, err)
	events := map[string]delivery.Event{}
	for _, r := range rooms {
		common := r.Common()
		for m := range r.Members() {
			require.NotContains(t, events, string(m.User))
			events[string(m.User)] = r.Event(m, common)
		}
	}
	return events
}

// crowd is a message with entries of every kind.
func crowd() (store.Message, []store.Entry) {
	m := item("", store.Received).Message
	m.Recipients = []string{"Alice", "Bob", "carol", "Dave"}
	odd := item("dave", store.Received).Entry
	odd.WrappedKey, odd.KeyVersion, odd.ReadAt, odd.Position = "\"\\<é\x00\u2028\x7f", 0, time.UnixMilli(9), math.MaxInt64
	look := item("eve", store.Received).Entry
	look.Position = 0
	return m, []store.Entry{
		item("alice", store.Received).Entry, item("bob", store.Received).Entry, item("carol", store.Received).Entry, odd, look,
		item("frank", store.Received).Entry, item("grace", store.Sent).Entry,
	}
}

// TestAMemberOfARoomIsToldWhatItsOwnEventWouldTell: byte for byte, and the common part is shared memory.
func TestAMemberOfARoomIsToldWhatItsOwnEventWouldTell(t *testing.T) {
	m, entries := crowd()
	encoder := delivery.NewMessageEncoder(m)
	payload, taken := encoder.AppendRoom(nil, entries, true, whole)
	require.Equal(t, len(entries), taken)
	events := opened(t, payload)
	require.Len(t, events, len(entries))
	var shared []byte
	for _, entry := range entries {
		want, got := encoder.For(entry), events[entry.User]
		require.Equal(t, string(want.Encode()), string(got.Encode()), entry.User)
		if got.Kind != delivery.Inline {
			continue
		}
		if shared == nil {
			shared = got.Object.Common
		}
		require.Same(t, &shared[0], &got.Object.Common[0])
		require.NotEmpty(t, got.Object.Own)
	}
	require.NotNil(t, shared)
	references, _ := encoder.AppendRoom(nil, entries, false, whole)
	for user, got := range opened(t, references) {
		for _, entry := range entries {
			if entry.User == user {
				want := encoder.Reference(entry)
				require.Equal(t, string(want.Encode()), string(got.Encode()), user)
			}
		}
	}
}

// TestAnEventOfARoomDoesNotKeepThePayload: the publisher reuses it.
func TestAnEventOfARoomDoesNotKeepThePayload(t *testing.T) {
	m, entries := crowd()
	encoder := delivery.NewMessageEncoder(m)
	payload, _ := encoder.AppendRoom(nil, entries, true, whole)
	events := opened(t, payload)
	clear(payload)
	for _, entry := range entries {
		want, got := encoder.For(entry), events[entry.User]
		require.Equal(t, string(want.Encode()), string(got.Encode()), entry.User)
	}
}

func TestALargeMessageIsAReferenceInARoom(t *testing.T) {
	m, entries := crowd()
	for _, size := range []int{delivery.MaxInline - 600, delivery.MaxInline - 400, delivery.MaxInline + 1} {
		m.Content = strings.Repeat("x", size)
		entries[1].WrappedKey = strings.Repeat("k", 344)
		encoder := delivery.NewMessageEncoder(m)
		payload, _ := encoder.AppendRoom(nil, entries, true, whole)
		for _, entry := range entries {
			want, got := encoder.For(entry), opened(t, payload)[entry.User]
			require.Equal(t, string(want.Encode()), string(got.Encode()), "%s at %d", entry.User, size)
		}
	}
}

// TestRoomsAreBounded: what does not fit goes into the next room, and each holds at least one member. Entries with another expiry get a
// room of their own.
func TestRoomsAreBounded(t *testing.T) {
	m, _ := crowd()
	m.Recipients = nil
	var entries []store.Entry
	for i := range 100 {
		e := item(fmt.Sprintf("user%02d", i), store.Received).Entry
		e.WrappedKey = strings.Repeat("k", 344)
		if i >= 90 {
			e.ExpiresAt = e.ExpiresAt.Add(time.Second)
		}
		entries = append(entries, e)
	}
	encoder := delivery.NewMessageEncoder(m)
	for _, limit := range []int{1, 4096, whole} {
		var all int
		var sizes []int
		for left := entries; len(left) > 0; {
			payload, taken := encoder.AppendRoom(nil, left, true, limit)
			for _, entry := range left[:taken] {
				require.Equal(t, entry.ExpiresAt.UnixMilli(), opened(t, payload)[entry.User].ExpiresAt.UnixMilli())
			}
			if taken > 1 {
				require.LessOrEqual(t, len(payload), limit)
			}
			all, left, sizes = all+taken, left[taken:], append(sizes, taken)
		}
		require.Equal(t, 100, all)
		switch limit {
		case 1:
			require.Len(t, sizes, 100)
		case whole:
			require.Equal(t, []int{90, 10}, sizes)
		}
	}
}

func TestSeveralRoomsTravelTogether(t *testing.T) {
	m, entries := crowd()
	payload, _ := delivery.NewMessageEncoder(m).AppendRoom(nil, entries[:2], true, whole)
	m.Content = "another"
	payload, _ = delivery.NewMessageEncoder(m).AppendRoom(payload, entries[2:3], true, whole)
	rooms, err := delivery.DecodeRooms(payload)
	require.NoError(t, err)
	require.Len(t, rooms, 2)
	require.Contains(t, string(opened(t, payload)["carol"].Object.AppendTo(nil)), "another")
	require.NotContains(t, string(opened(t, payload)["bob"].Object.AppendTo(nil)), "another")
}

// TestWhatIsNoRoomIsRefused: every truncated payload, and one with a byte too many.
func TestWhatIsNoRoomIsRefused(t *testing.T) {
	m, entries := crowd()
	good, _ := delivery.NewMessageEncoder(m).AppendRoom(nil, entries, true, whole)
	bad := map[string][]byte{"one byte too many": append(bytes.Clone(good), 'm')}
	for n := range good {
		bad[fmt.Sprint("the first ", n)] = good[:n]
	}
	for name, text := range map[string]string{
		"no members": "\x01c\x02\x02\x00", "an unknown kind": "\x01c\x02\x02x\x01\x01u\x00", "no user": "\x01c\x02\x02r\x01\x00\x00",
		"a position of 0": "\x01c\x02\x02r\x00\x01u\x00", "a look with a position": "\x01c\x02\x02l\x01\x01u\x00",
		"a position that is too large": "\x01c\x02\x02r\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01u\x00",
		"a number without an end":      "\x01c\x02\x02r\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01u\x00",
		"an unknown flag":              "\x01c\x02\x02m\x01\x01u\x08\x00\x01k\x00", "a message without the common part": "\x00\x02\x02m\x01\x01u\x00\x00\x01k\x00",
		"a huge version": "\x01c\x02\x02m\x01\x01u\x00\xff\xff\xff\xff\x08\x01k\x00", "a key that is too long": "\x01c\x02\x02m\x01\x01u\x00\x00\x02k",
	} {
		bad[name] = []byte(text)
	}
	for name, payload := range bad {
		_, err := delivery.DecodeRooms(payload)
		require.ErrorIs(t, err, delivery.ErrMalformed, name)
	}
	_, err := delivery.DecodeRooms([]byte("\x01c\x02\x02m\x01\x01u\x00\x00\x01k\x00"))
	require.NoError(t, err, "these are wrong by what they are said to be wrong by")
}

// FuzzDecodeRooms: every accepted payload yields members whose events can be forwarded.
func FuzzDecodeRooms(f *testing.F) {
	m, entries := crowd()
	payload, _ := delivery.NewMessageEncoder(m).AppendRoom(nil, entries, true, whole)
	f.Add(payload)
	payload, _ = delivery.NewMessageEncoder(m).AppendRoom(payload, entries, false, whole)
	f.Add(payload)
	f.Add([]byte("\x01c\x02\x02m\x01\x01u\x00\x00\x01k\x00"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		rooms, err := delivery.DecodeRooms(payload)
		if err != nil {
			require.Empty(t, rooms)
			return
		}
		for _, r := range rooms {
			members, common := 0, r.Common()
			for m := range r.Members() {
				members++
				require.NotEmpty(t, m.User)
				e := r.Event(m, common)
				again, err := delivery.Decode(e.Encode())
				require.NoError(t, err)
				require.Equal(t, string(e.Encode()), string(again[0].Encode()))
			}
			require.Positive(t, members)
		}
		require.Equal(t, before, payload)
	})
}

// BenchmarkRoom encodes and decodes the room of a message of 400 characters, all of whose members have a mailbox.
func BenchmarkRoom(b *testing.B) {
	for _, recipients := range []int{20, 1024} {
		m := store.Message{Sender: "Alice", Content: fmt.Sprintf("%0400d", 1), IV: "000000000000000000000000", CreatedAt: time.Now()}
		var entries []store.Entry
		for i := range recipients {
			m.Recipients = append(m.Recipients, fmt.Sprintf("User%04d", i))
			entries = append(entries, store.Entry{User: fmt.Sprintf("user%04d", i), Position: 7, Kind: store.Received, WrappedKey: fmt.Sprintf("%0344d", 1)})
		}
		encoder := delivery.NewMessageEncoder(m)
		payload, _ := encoder.AppendRoom(nil, entries, true, 2*whole)
		var buffer []byte
		b.Run(fmt.Sprint("encode/recipients=", recipients), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buffer, _ = encoder.AppendRoom(buffer[:0], entries, true, 2*whole)
			}
		})
		b.Run(fmt.Sprint("decode/recipients=", recipients), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rooms, err := delivery.DecodeRooms(payload)
				if err != nil {
					b.Fatal(err)
				}
				common := rooms[0].Common()
				for m := range rooms[0].Members() {
					_ = rooms[0].Event(m, common)
				}
			}
		})
	}
}
