// Command poll-gateway is the poll gateway: long polls and streams.
package main

import (
	"context"
	"io"
	"os"

	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/services/poll-gateway/app"
)

func main() {
	var p app.Process
	os.Exit(service.Main("poll-gateway", &p, &p.Service, func(ctx context.Context, logs io.Writer) error {
		return app.Run(ctx, p, logs)
	}))
}
