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

// errBadName means that a name contains the byte that ends names. No registered name does.
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

// namePrefix is the prefix of keys that continue after a name.
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

// entryKey returns the key of a position. Positions below 0 count as 0.
func entryKey(dst []byte, user string, position int64) []byte {
	return binary.BigEndian.AppendUint64(appendNamePrefix(dst, tableEntries, user), uint64(max(0, position)))
}

// positionOf returns the position in an entry's key.
func positionOf(key []byte) int64 { return int64(binary.BigEndian.Uint64(key[len(key)-positionLen:])) }

// inboxOf returns the prefix of an entry's key: table and user.
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

// dueAndUser parses an entryPurgeKey.
func dueAndUser(key []byte) (due int64, user string) {
	return int64(binary.BigEndian.Uint64(key[1:]) ^ 1<<63), string(key[1+momentLen:])
}

// expiryKey returns the key of a row that says when something may be forgotten.
func expiryKey(table byte, at int64, key []byte) []byte {
	return append(appendMoment(append(make([]byte, 0, 1+momentLen+len(key)), table), at), key...)
}

func appendMoment(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(ms)^1<<63)
}

// dayOf returns the day of a moment.
func dayOf(ms int64) int32 {
	const day = int64(24 * time.Hour / time.Millisecond)
	if ms < 0 {
		ms -= day - 1
	}
	return int32(ms / day)
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
