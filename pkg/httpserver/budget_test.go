package httpserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/httpserver"
)

func TestNobodyUsesABudgetUpAlone(t *testing.T) {
	b := httpserver.NewBudget(80, 0)
	require.True(t, b.TryTake("eve", 6))
	require.True(t, b.TryTake("eve", 4))
	require.False(t, b.TryTake("eve", 1), "more than an eighth")
	require.True(t, b.TryTake("alice", 60), "one alone may be large")
	require.False(t, b.TryTake("alice", 1))
	require.False(t, b.TryTake("bob", 11), "more than is left")
	require.True(t, b.TryTake("bob", 10))
	b.Give("eve", 10)
	require.True(t, b.TryTake("eve", 10))
	b.Give("alice", 60)
	require.True(t, b.TryTake("alice", 1))

	least := httpserver.NewBudget(80, 30)
	require.True(t, least.TryTake("eve", 15))
	require.True(t, least.TryTake("eve", 15))
	require.False(t, least.TryTake("eve", 1))
}
