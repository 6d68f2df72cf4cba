package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/services/messages/app"
)

func good() app.Config {
	return app.Config{
		MaxMessageBytes: 5 << 20, Retention: 1 << 40, SendQueue: 1, MaxSendingBytes: 256 << 20, MaxPages: 1,
		SendsPerMinute: 1, RecipientsPerMinute: api.MaxRecipients, ReadsPerMinute: 1,
	}
}

// TestTheLargestSendFitsIntoTheQuotaOfRecipients: otherwise it could never pass.
func TestTheLargestSendFitsIntoTheQuotaOfRecipients(t *testing.T) {
	c := good()
	require.NoError(t, c.Validate())
	c.RecipientsPerMinute--
	require.ErrorContains(t, c.Validate(), "RECIPIENTS_PER_MINUTE must be at least 1024")
}
