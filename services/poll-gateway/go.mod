module github.com/sealpost/sealpost/services/poll-gateway

go 1.26.0

require (
	github.com/gin-gonic/gin v1.12.0
	github.com/sealpost/sealpost/pkg v0.0.0
)

require (
	github.com/stretchr/testify v1.12.1 // indirect
	go.uber.org/goleak v1.3.0 // indirect
)

replace github.com/sealpost/sealpost/pkg => ../../pkg
