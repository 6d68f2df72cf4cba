package engines

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFoldersInUseAreKeptAndOthersRemoved(t *testing.T) {
	parent := t.TempDir()
	inUse, err := newFolder(parent, "a")
	require.NoError(t, err)
	left, err := newFolder(parent, "b")
	require.NoError(t, err)
	require.NoError(t, left.lock.Close(), "as when its process ends")
	third, err := newFolder(parent, "c")
	require.NoError(t, err)
	require.DirExists(t, inUse.path)
	require.NoDirExists(t, left.path)
	require.NoError(t, inUse.remove())
	require.NoError(t, third.remove())
}

func TestPortsAreOutsideTheRangeOfOutgoingConnections(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	require.NoError(t, err)
	first, err := strconv.Atoi(strings.Fields(string(text))[0])
	require.NoError(t, err)
	port, err := freePort()
	require.NoError(t, err)
	require.Less(t, port, first)
}

func TestStepsThatAreDoneAreNotRepeatedAndTheRestIsRunInOrder(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	c, err := openCache(Options{}.logger())
	require.NoError(t, err)
	var ran []string
	mark := func(name string, already bool) step {
		return step{what: name, done: func() bool { return already }, do: func(context.Context) error {
			ran = append(ran, name)
			return nil
		}}
	}
	require.NoError(t, c.do(t.Context(), []step{mark("a", false), mark("b", true), mark("c", false)}))
	require.Equal(t, []string{"a", "c"}, ran)
	failing := step{what: "d", done: func() bool { return false }, do: func(ctx context.Context) error { return run(ctx, "sh", "-c", "echo why; exit 3") }}
	err = c.do(t.Context(), []step{failing, mark("e", false)})
	require.ErrorContains(t, err, "install d")
	require.ErrorContains(t, err, "why")
	require.Equal(t, []string{"a", "c"}, ran)
}

func TestOfManyFreePortsNoneIsGivenTwice(t *testing.T) {
	ports, err := FreePorts(1500)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, p := range ports {
		require.False(t, seen[p], p)
		seen[p] = true
	}
}

func TestPortsInUseArePassedOverAndTooFewAreAnError(t *testing.T) {
	free, err := freePorts(2)
	require.NoError(t, err)
	used, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, used.Close()) }()
	candidates := append([]int{used.Addr().(*net.TCPAddr).Port}, free...)
	ports, err := freeOf(candidates, 2)
	require.NoError(t, err)
	require.Equal(t, free, ports)
	ports, err = freeOf(candidates, 3)
	require.ErrorContains(t, err, "3 free ports are wanted, 2 found: listen tcp")
	require.Empty(t, ports)
}
