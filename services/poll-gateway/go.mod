module github.com/sealpost/sealpost/services/poll-gateway

go 1.26

require (
	github.com/gin-gonic/gin v1.12.0
	github.com/sealpost/sealpost/pkg v0.0.0
)

replace github.com/sealpost/sealpost/pkg => ../../pkg
