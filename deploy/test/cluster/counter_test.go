package cluster_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// amount is a number of commands, and their bytes on the wire.
type amount struct{ commands, bytes int64 }

// amounts are by command.
type amounts map[string]amount

// since is what was added after before.
func (a amounts) since(before amounts) amounts {
	diff := amounts{}
	for name, now := range a {
		if n := now.commands - before[name].commands; n > 0 {
			diff[name] = amount{n, now.bytes - before[name].bytes}
		}
	}
	return diff
}

// counter is a proxy in front of an engine that counts the clients' commands, each before it passes it on, so that everything answered is
// counted.
type counter struct {
	listener net.Listener
	upstream string
	next     nextCommand

	mu      sync.Mutex
	counted amounts
}

// nextCommand reads a command from the wire, and names it.
type nextCommand func(r *bufio.Reader) (name string, raw []byte, err error)

func newCounter(t *testing.T, upstream string, next nextCommand) *counter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &counter{listener: l, upstream: upstream, next: next, counted: amounts{}}
	var serving sync.WaitGroup
	serving.Go(func() { c.serve(&serving) })
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		serving.Wait() // the services have ended, so their connections have too
	})
	return c
}

func (c *counter) addr() string { return c.listener.Addr().String() }

func (c *counter) serve(serving *sync.WaitGroup) {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		serving.Go(func() { c.carry(client) })
	}
}

// carry forwards both directions until one of them ends.
func (c *counter) carry(client net.Conn) {
	engine, err := net.Dial("tcp", c.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, engine)
		_ = client.Close()
	})
	in := bufio.NewReader(client)
	for {
		name, raw, err := c.next(in)
		if err != nil {
			break
		}
		c.count(name, len(raw))
		if _, err := engine.Write(raw); err != nil {
			break
		}
	}
	_ = engine.Close()
	back.Wait()
}

func (c *counter) count(name string, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.counted[name]
	c.counted[name] = amount{a.commands + 1, a.bytes + int64(bytes)}
}

func (c *counter) counts() amounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counted)
}

// mongoCommand reads a message of MongoDB's wire protocol and names it by command and collection, as "find inbox".
func mongoCommand(r *bufio.Reader) (string, []byte, error) {
	const header, opMsg = 16, 2013
	head, err := r.Peek(header)
	if err != nil {
		return "", nil, err
	}
	size := binary.LittleEndian.Uint32(head)
	if size < header || size > 64<<20 {
		return "", nil, fmt.Errorf("a message of %d bytes", size)
	}
	code := binary.LittleEndian.Uint32(head[12:])
	raw := make([]byte, size)
	if _, err := io.ReadFull(r, raw); err != nil || code != opMsg {
		return fmt.Sprint("opcode ", code), raw, err // the first message on a connection is of an older kind
	}
	command, err := commandOf(raw[header+4:]) // after the flags
	return command, raw, err
}

// commandOf finds the section with the command, among those with lists of documents.
func commandOf(sections []byte) (string, error) {
	const body, list = 0, 1
	for len(sections) > 5 {
		kind := sections[0]
		size := int(binary.LittleEndian.Uint32(sections[1:]))
		switch {
		case size < 5 || size >= len(sections):
			return "", errors.New("a section that is larger than its message")
		case kind == body:
			elements, err := bson.Raw(sections[1 : 1+size]).Elements()
			if err != nil {
				return "", err
			}
			name := elements[0].Key()
			if collection, ok := elements[0].Value().StringValueOK(); ok {
				name += " " + collection
			}
			return name, nil
		case kind != list:
			return "", fmt.Errorf("a section of kind %d", kind)
		}
		sections = sections[1+size:]
	}
	return "", errors.New("a message without a command")
}

// redisCommand reads a command of Redis's protocol and names it by its first word, and a script also by the kind of its first key.
func redisCommand(r *bufio.Reader) (name string, raw []byte, err error) {
	const firstKey = 3 // EVALSHA script number key
	words, raw, err := lineNumber(r, nil, '*')
	for i := 0; i < words && err == nil; i++ {
		var size int
		if size, raw, err = lineNumber(r, raw, '$'); err != nil {
			break
		}
		begin := len(raw)
		if raw, err = more(r, raw, size+2); err != nil {
			break
		}
		word := string(raw[begin : begin+size])
		if i == 0 {
			name = strings.ToLower(word)
		} else if i == firstKey && strings.HasPrefix(name, "eval") {
			name += " " + withoutLast(word, ':')
		}
	}
	return name, raw, err
}

// withoutLast returns a name without its last part, the user.
func withoutLast(name string, separator byte) string {
	return name[:max(0, strings.LastIndexByte(name, separator))]
}

// lineNumber reads a line of a mark and a number.
func lineNumber(r *bufio.Reader, raw []byte, mark byte) (int, []byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return 0, raw, err
	}
	if line[0] != mark {
		return 0, raw, fmt.Errorf("%q is not the beginning that was expected", line)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	return n, append(raw, line...), err
}

// more reads another n bytes.
func more(r io.Reader, raw []byte, n int) ([]byte, error) {
	if n < 0 {
		return raw, errors.New("a negative length")
	}
	begin := len(raw)
	raw = slices.Grow(raw, n)[:begin+n]
	_, err := io.ReadFull(r, raw[begin:])
	return raw, err
}

// natsCommand reads a command of NATS's protocol. It names a publication by the subject without its last part.
func natsCommand(r *bufio.Reader) (name string, raw []byte, err error) {
	raw, err = r.ReadBytes('\n')
	if err != nil {
		return "", raw, err
	}
	words := strings.Fields(string(raw))
	if len(words) == 0 {
		return "", raw, errors.New("an empty command")
	}
	name = strings.ToLower(words[0])
	if name != "pub" && name != "hpub" {
		return name, raw, nil
	}
	size, err := strconv.Atoi(words[len(words)-1]) // with a header, the size of both
	if err != nil || len(words) < 3 {
		return "", raw, fmt.Errorf("%q publishes nothing", raw)
	}
	raw, err = more(r, raw, size+2)
	return "pub " + withoutLast(words[1], '.'), raw, err
}

func TestCommandsAreReadFromTheWire(t *testing.T) {
	command, err := bson.Marshal(bson.D{{Key: "insert", Value: "inbox"}, {Key: "$db", Value: "x"}})
	require.NoError(t, err)
	const header, flags, list, body = "????\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00", "\x00\x00\x00\x00", "\x01\x06\x00\x00\x00d\x00", "\x00"
	message := append([]byte(header+flags+list+body), command...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	for _, test := range []struct {
		next nextCommand
		raw  string
		name string
	}{
		{mongoCommand, string(message), "insert inbox"},
		{mongoCommand, "\x14\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00abcd", "opcode 2004"},
		{redisCommand, "*2\r\n$4\r\nECHO\r\n$3\r\na\nb\r\n", "echo"},
		{redisCommand, "*4\r\n$7\r\nEVALSHA\r\n$1\r\nf\r\n$1\r\n1\r\n$5\r\ns:q:u\r\n", "evalsha s:q"},
		{natsCommand, "PUB inbox.v1.bob 5\r\n12\n45\r\n", "pub inbox.v1"},
		{natsCommand, "HPUB inbox.v1.bob reply 4 6\r\nhead12\r\n", "pub inbox.v1"},
		{natsCommand, "PING\r\n", "ping"},
	} {
		r := bufio.NewReader(strings.NewReader(test.raw + test.raw))
		for range 2 {
			name, raw, err := test.next(r)
			require.NoError(t, err)
			require.Equal(t, test.name, name)
			require.Equal(t, test.raw, string(raw))
		}
		_, _, err := test.next(r)
		require.ErrorIs(t, err, io.EOF)
	}
	for _, next := range []nextCommand{mongoCommand, redisCommand, natsCommand} {
		_, _, err := next(bufio.NewReader(strings.NewReader("PUB nonsense\r\nand more of it\r\n")))
		require.Error(t, err)
	}
}
