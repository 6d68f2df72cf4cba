package delivery

import (
	"encoding/binary"
	"iter"
	"math"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// Room is one event for several recipients of a message: what they share is stored once. It goes to all gateways, and each picks the
// recipients whose polls it holds.
type Room struct {
	AcceptedAt, ExpiresAt time.Time
	// common is the shared part of the message object; empty if no member's event carries it.
	common []byte
	// members are the encoded members, one after the other.
	members []byte
}

// Member is a reader of a Room's message. It shares the payload's memory.
type Member struct {
	// User is the canonical name of the inbox's owner.
	User []byte
	Kind Kind
	own  own[[]byte]
}

const (
	// endOfRoom stands in place of the next member's kind.
	endOfRoom = 0
	// ownBytes is roughly the size of a reader's part of an object, without its name, which occurs twice, and its key.
	ownBytes = 96
	// Flags of a member whose event carries the message. spelled: its name differs from the canonical one.
	unread  = 1 << 0
	sender  = 1 << 1
	spelled = 1 << 2
)

// MemberBytes is roughly the size of an entry in a room that carries the message (whole) or does not.
func MemberBytes(e *store.Entry, whole bool) int {
	if !whole {
		return len(e.User) + 8
	}
	return len(e.User) + len(e.WrappedKey) + 12
}

// AppendRoom appends a room to a payload and returns how many of the message's entries it took: from the first on, as many as fit into
// limit bytes including the payload so far, but at least one. It stops at an entry with another expiry. Members get the events that For
// makes; if not whole, those that Reference makes.
//
// All numbers are variable-length integers, and texts are preceded by their length: the common part, acceptance and expiry in milliseconds,
// then the members. A member is its kind, position and user; if its event carries the message also its flags, the spelling of its name if
// it differs from the user's, key version and wrapped key. A zero ends the room. A payload holds one or more rooms, one after the other.
func (s *MessageEncoder) AppendRoom(b []byte, entries []store.Entry, whole bool, limit int) (payload []byte, taken int) {
	var common []byte
	if whole && len(s.common) <= MaxInline {
		common = s.common
	}
	b = appendText(b, common)
	b = binary.AppendVarint(b, s.message.CreatedAt.UnixMilli())
	names := &speller{names: s.message.Recipients}
	expires := entries[0].ExpiresAt.UnixMilli()
	b = binary.AppendVarint(b, expires)
	for i := range entries {
		e := &entries[i]
		if i > 0 && (len(b)+MemberBytes(e, len(common) > 0) > limit || e.ExpiresAt.UnixMilli() != expires) {
			break
		}
		b = s.appendMember(b, e, len(common) > 0, names)
		taken++
	}
	return append(b, endOfRoom), taken
}

func (s *MessageEncoder) appendMember(b []byte, e *store.Entry, whole bool, names *speller) []byte {
	whole = whole && s.inline(*e)
	kind := Inline
	if !whole {
		kind = s.Reference(*e).Kind
	}
	b = append(b, byte(kind))
	b = binary.AppendUvarint(b, uint64(e.Position)) //nolint:gosec // never negative
	b = appendText(b, e.User)
	if !whole {
		return b
	}
	o := s.spelled(*e, names)
	var flags byte
	if o.unread {
		flags |= unread
	}
	if o.sender {
		flags |= sender
	}
	if o.name != e.User {
		flags |= spelled
	}
	b = append(b, flags)
	if o.name != e.User {
		b = appendText(b, o.name)
	}
	b = binary.AppendUvarint(b, uint64(o.version)) //nolint:gosec // never negative
	return appendText(b, o.key)
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// DecodeRooms reads a payload. On error it returns no rooms.
func DecodeRooms(payload []byte) ([]Room, error) {
	var rooms []Room
	in := reader{rest: payload}
	for {
		r := in.room()
		if in.failed {
			return nil, ErrMalformed
		}
		rooms = append(rooms, r)
		if len(in.rest) == 0 {
			return rooms, nil
		}
	}
}

// Members yields the room's members, in order.
func (r Room) Members() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for in := (reader{rest: r.members}); len(in.rest) > 0; {
			if m := in.member(); !yield(m) {
				return
			}
		}
	}
}

// Common returns a copy of the room's common part, to be shared by the events of all members that are kept.
func (r Room) Common() []byte { return append([]byte(nil), r.common...) }

// Event makes the event of a member. Its object consists of common, which Common returned, and newly allocated memory: keeping it does not
// keep the payload.
func (r Room) Event(m Member, common []byte) Event {
	e := Event{Position: m.own.position, Kind: m.Kind, AcceptedAt: r.AcceptedAt, ExpiresAt: r.ExpiresAt}
	if m.Kind != Inline {
		return e
	}
	e.Object = JSON{common, m.own.appendTo(make([]byte, 0, len(m.own.key)+2*len(m.own.name)+ownBytes), nil)}
	if e.Object.Len() > MaxInline {
		e.Kind, e.Object = Reference, JSON{}
	}
	return e
}

// reader parses a payload. Once failed is set, its results are meaningless.
type reader struct {
	rest   []byte
	failed bool
}

// room reads one room and checks all its members.
func (in *reader) room() Room {
	r := Room{common: in.text()}
	r.AcceptedAt, r.ExpiresAt = time.UnixMilli(in.integer()), time.UnixMilli(in.integer())
	members := in.rest
	for {
		if len(in.rest) == 0 || in.failed {
			in.failed = true
			return r
		}
		if in.rest[0] == endOfRoom {
			break
		}
		if m := in.member(); m.Kind == Inline && len(r.common) == 0 {
			in.failed = true
		}
	}
	r.members = members[:len(members)-len(in.rest)]
	in.rest = in.rest[1:]
	in.failed = len(r.members) == 0
	return r
}

func (in *reader) member() Member {
	m := Member{Kind: Kind(in.byte()), own: own[[]byte]{position: in.number(math.MaxInt64), received: true}, User: in.text()}
	if !m.Kind.known() || len(m.User) == 0 || (m.own.position == 0) != (m.Kind == Look) {
		in.failed = true
	}
	if m.Kind != Inline || in.failed {
		return m
	}
	flags := in.byte()
	if flags&^(unread|sender|spelled) != 0 {
		in.failed = true
	}
	m.own.unread, m.own.sender = flags&unread != 0, flags&sender != 0
	m.own.name = m.User
	if flags&spelled != 0 {
		m.own.name = in.text()
	}
	m.own.version = int(in.number(math.MaxInt32))
	m.own.key = in.text()
	return m
}

func (in *reader) byte() byte {
	if len(in.rest) == 0 {
		in.failed = true
		return 0
	}
	b := in.rest[0]
	in.rest = in.rest[1:]
	return b
}

// number reads a number from 0 to most.
func (in *reader) number(most uint64) int64 {
	n, length := binary.Uvarint(in.rest)
	if length <= 0 || n > most {
		in.failed = true
		return 0
	}
	in.rest = in.rest[length:]
	return int64(n) //nolint:gosec // most is no more than an int64 holds
}

func (in *reader) integer() int64 {
	n, length := binary.Varint(in.rest)
	if length <= 0 {
		in.failed = true
		return 0
	}
	in.rest = in.rest[length:]
	return n
}

func (in *reader) text() []byte {
	length := in.number(math.MaxInt64)
	if length > int64(len(in.rest)) {
		in.failed = true
		return nil
	}
	b := in.rest[:length:length]
	in.rest = in.rest[length:]
	return b
}
