package recent_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
)

func TestWhatWasUsedLatelyIsKnownAndTheRestForgotten(t *testing.T) {
	const limit = 100
	m := recent.New[int, int](limit)
	for k := range 10 * limit {
		m.Put(k, k)
		_, known := m.Get(0)
		require.True(t, known, "what is used all the time is never forgotten")
		require.LessOrEqual(t, m.Len(), 2*limit)
	}
	for k := 9*limit + 2; k < 10*limit; k++ {
		v, known := m.Get(k)
		require.True(t, known)
		require.Equal(t, k, v)
	}
	_, known := m.Get(limit)
	require.False(t, known)
	m.Put(0, 7)
	v, _ := m.Get(0)
	require.Equal(t, 7, v)
}

// TestAMillionUsersTakeLittleMemory logs how much.
func TestAMillionUsersTakeLittleMemory(t *testing.T) {
	const users = uint64(1_000_000)
	for _, one := range []struct {
		what string
		most float64
		fill func() any
	}{
		{"users", 48, func() any {
			m := recent.NewUsers()
			for i := range users {
				m.Put(fmt.Sprint("some_user_", i), i)
			}
			for i := range users {
				if n := m.Get(fmt.Sprint("some_user_", i)); n != i {
					require.Equal(t, i, n)
				}
			}
			return m
		}},
		{"names and numbers", 96, func() any {
			m := recent.New[string, int64](int(users))
			for i := range users {
				m.Put(fmt.Sprint("some_user_", i), 1)
			}
			return m
		}},
	} {
		before := heap()
		kept := one.fill()
		each := float64(heap()-before) / float64(users)
		runtime.KeepAlive(kept)
		t.Logf("%s: %.1f bytes a user", one.what, each)
		require.Less(t, each, one.most, one.what)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // it is no such size
}
