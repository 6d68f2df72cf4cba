// Command messages is the messages service: sends, history, read receipts, status.
package main

import (
	"context"
	"io"
	"os"

	"github.com/sealpost/sealpost/pkg/heapfloor"
	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/services/messages/app"
)

func main() {
	heapfloor.Set(100)
	var p app.Process
	os.Exit(service.Main("messages", &p, &p.Service, func(ctx context.Context, logs io.Writer) error {
		return app.Run(ctx, p, logs)
	}))
}
