// Command keys is the keys service: the directory of public keys.
package main

import (
	"context"
	"io"
	"os"

	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/services/keys/app"
)

func main() {
	var p app.Process
	os.Exit(service.Main("keys", &p, &p.Service, func(ctx context.Context, logs io.Writer) error {
		return app.Run(ctx, p, logs)
	}))
}
