package redisseq_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
)

// BenchmarkTake takes the next positions of users whose counters are trusted: for one recipient and its sender, and for the largest send;
// each on a single server and on a Cluster.
func BenchmarkTake(b *testing.B) {
	for _, cluster := range []bool{false, true} {
		for _, users := range []int{2, 1025} {
			b.Run(fmt.Sprintf("cluster=%t/users=%d", cluster, users), func(b *testing.B) {
				s := redisseq.New(enginetest.EmptyRedis(b), redisseq.Config{Retention: retention, Settling: time.Nanosecond, Cluster: cluster})
				list := make([]inbox.Want, users)
				for range 4 { // then the counters are trusted
					for i := range list {
						list[i] = above(fmt.Sprint("u", i), 1)
					}
					_, err := s.Take(b.Context(), list)
					require.NoError(b, err)
					<-time.After(100 * time.Millisecond)
				}
				for i := range list {
					list[i] = inbox.Want{User: list[i].User}
				}
				b.ReportAllocs()
				for b.Loop() {
					taken, err := s.Take(b.Context(), list)
					require.NoError(b, err)
					require.NotContains(b, taken, int64(0))
				}
			})
		}
	}
}
