module github.com/sealpost/sealpost/services/standalone

go 1.26.0

require (
	github.com/sealpost/sealpost/pkg v0.0.0
	github.com/sealpost/sealpost/services/auth v0.0.0
	github.com/sealpost/sealpost/services/keys v0.0.0
	github.com/sealpost/sealpost/services/messages v0.0.0
	github.com/sealpost/sealpost/services/poll-gateway v0.0.0
)

require (
	github.com/gofrs/flock v0.13.1 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/sealpost/sealpost/pkg => ../../pkg

replace github.com/sealpost/sealpost/services/auth => ../auth

replace github.com/sealpost/sealpost/services/keys => ../keys

replace github.com/sealpost/sealpost/services/messages => ../messages

replace github.com/sealpost/sealpost/services/poll-gateway => ../poll-gateway
