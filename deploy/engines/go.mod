module github.com/sealpost/sealpost/deploy/engines

go 1.26.0
