package httpserver

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestAConnectionWhosePeerHasGoneSilentEnds: its options are inherited by what the listener accepts. One was noticed after 952 s.
func TestAConnectionWhosePeerHasGoneSilentEnds(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	var d net.Dialer
	client, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	accepted, err := l.Accept()
	require.NoError(t, err)
	defer func() { require.NoError(t, accepted.Close()) }()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		for option, want := range map[int]int{
			unix.TCP_USER_TIMEOUT: int(peerTimeout.Milliseconds()), unix.TCP_KEEPIDLE: int(probeAfter.Seconds()),
			unix.TCP_KEEPINTVL: int(probeEvery.Seconds()), unix.TCP_NOTSENT_LOWAT: mostUnsent,
		} {
			got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option)
			require.NoError(t, err)
			require.Equal(t, want, got, "option %d", option)
		}
	}))
}
