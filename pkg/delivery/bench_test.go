package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// BenchmarkEvent encodes and decodes the event that carries a message of 400 characters to one of its recipients.
func BenchmarkEvent(b *testing.B) {
	for _, recipients := range []int{1, 20} {
		item := inbox.Item{
			Entry: store.Entry{User: "user0", Position: 7, Kind: store.Received, WrappedKey: fmt.Sprintf("%0344d", 1), ExpiresAt: time.Now().Add(time.Hour)},
			Message: store.Message{
				Sender: "Alice", Content: fmt.Sprintf("%0400d", 1), IV: "000000000000000000000000", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
			},
		}
		for i := range recipients {
			item.Message.Recipients = append(item.Message.Recipients, fmt.Sprint("User", i))
		}
		encoder := delivery.NewMessageEncoder(item.Message)
		event := encoder.For(item.Entry)
		payload := event.Encode()
		var buffer []byte
		b.Run(fmt.Sprint("encode/recipients=", recipients), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if buffer = encoder.AppendFor(buffer[:0], item.Entry); len(buffer) == 0 {
					b.Fatal("nothing was encoded")
				}
			}
		})
		b.Run(fmt.Sprint("decode/recipients=", recipients), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := delivery.Decode(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
