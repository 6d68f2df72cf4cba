package pebble

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// The tables: see doc.go.
const (
	tableSchema           = 0x01
	tableAccounts         = 'a'
	tableFurthest         = 'f'
	tableKeys             = 'k'
	tableSessions         = 's'
	tableSessionExpiry    = 'S'
	tableMeta             = 'z'
	tableRevocations      = 'v'
	tableRevocationExpiry = 'V'
	tableMessages         = 'm'
	tableContents         = 'c'
	tableMessagePurge     = 'M'
	tableEntries          = 'e'
	tableEntryPurge       = 'p'
	tableTails            = 't'
)

const (
	idLen       = len(store.MessageID{})
	positionLen = 8
	momentLen   = 8
)

// errBadName means that a name holds a byte that ends names. No name that was registered does.
var errBadName = errors.New("a name with a zero byte")

func checkName(names ...string) error {
	for _, name := range names {
		if strings.IndexByte(name, 0) >= 0 {
			return errBadName
		}
	}
	return nil
}

func nameKey(table byte, name string) []byte {
	return append(append(make([]byte, 0, len(name)+1), table), name...)
}

// namePrefix is what the keys about a name begin with that go on.
func namePrefix(table byte, name string) []byte {
	return appendNamePrefix(make([]byte, 0, len(name)+10), table, name)
}

func appendNamePrefix(dst []byte, table byte, name string) []byte {
	return append(append(append(dst, table), name...), 0)
}

func keyKey(name string, version int) []byte {
	return binary.BigEndian.AppendUint32(namePrefix(tableKeys, name), uint32(version))
}

func sessionKey(name, session string) []byte {
	return append(namePrefix(tableSessions, name), session...)
}

// entryKey is the key of a position, of which none is below 0.
func entryKey(dst []byte, user string, position int64) []byte {
	return binary.BigEndian.AppendUint64(appendNamePrefix(dst, tableEntries, user), uint64(max(0, position)))
}

// positionOf is the position in an entry's key.
func positionOf(key []byte) int64 { return int64(binary.BigEndian.Uint64(key[len(key)-positionLen:])) }

// inboxOf is the prefix in an entry's key.
func inboxOf(key []byte) []byte { return key[:len(key)-positionLen] }

func headerKey(dst []byte, id store.MessageID) []byte {
	return append(append(dst, tableMessages), id[:]...)
}

func contentKey(dst []byte, expires int64, id store.MessageID) []byte {
	return append(appendMoment(append(dst, tableContents), expires), id[:]...)
}

func messagePurgeKey(dst []byte, kept int64, id store.MessageID) []byte {
	return append(appendMoment(append(dst, tableMessagePurge), kept), id[:]...)
}

func entryPurgeKey(dst []byte, due int64, user string) []byte {
	return append(appendMoment(append(dst, tableEntryPurge), due), user...)
}

// dueAndUser reads an entryPurgeKey.
func dueAndUser(key []byte) (due int64, user string) {
	return int64(binary.BigEndian.Uint64(key[1:]) ^ 1<<63), string(key[1+momentLen:])
}

// expiryKey is the key of what is to be forgotten at a moment.
func expiryKey(table byte, at int64, key []byte) []byte {
	return append(appendMoment(append(make([]byte, 0, 1+momentLen+len(key)), table), at), key...)
}

func appendMoment(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(ms)^1<<63)
}

// dayOf is the day of a moment.
func dayOf(ms int64) int32 {
	const day = int64(24 * time.Hour / time.Millisecond)
	if ms < 0 {
		ms -= day - 1
	}
	return int32(ms / day)
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
