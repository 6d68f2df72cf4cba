package httpapi

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// BenchmarkFrame makes the JSON of a poll's answer with messages of a kilobyte.
func BenchmarkFrame(b *testing.B) {
	for _, messages := range []int{1, 100} {
		b.Run(fmt.Sprint("messages=", messages), func(b *testing.B) {
			a := gateway.Answer{Position: int64(messages)}
			for i := range messages {
				a.Objects = append(a.Objects, gateway.Object{Position: int64(i + 1), JSON: delivery.JSON{Own: bytes.Repeat([]byte("x"), 1024)}})
			}
			b.SetBytes(int64(len(frame(a, "epoch"))))
			b.ReportAllocs()
			for b.Loop() {
				frame(a, "epoch")
			}
		})
	}
}
