module github.com/sealpost/sealpost/services/keys

go 1.26

require github.com/sealpost/sealpost/pkg v0.0.0

replace github.com/sealpost/sealpost/pkg => ../../pkg
