package simulation

import (
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// purgeAt is when TTL may remove a message.
func purgeAt(m store.Message) time.Time { return m.ExpiresAt }
