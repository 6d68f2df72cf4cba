package redislog

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/revocation"
)

// TestARecordOfALaterVersionCanBeRead because nodes of two versions follow one log: unknown fields are ignored.
func TestARecordOfALaterVersionCanBeRead(t *testing.T) {
	r, err := parse(redis.XMessage{ID: "1-0", Values: map[string]any{
		"token": "t", "subject": "ann", "generation": "4", "expires": "1700000000000", "unheardOf": "x",
	}})
	require.NoError(t, err)
	require.Equal(t, revocation.Record{TokenID: "t", Subject: "ann", MinGeneration: 4, ExpiresAt: time.UnixMilli(1_700_000_000_000).UTC()}, r)
}
