// Command auth is the auth service: accounts, passwords, tokens and their revocation.
package main

import (
	"context"
	"io"
	"os"

	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/services/auth/app"
)

func main() {
	var p app.Process
	os.Exit(service.Main("auth", &p, &p.Service, func(ctx context.Context, logs io.Writer) error {
		return app.Run(ctx, p, logs)
	}))
}
