module github.com/sealpost/sealpost/deploy/test/load

go 1.26.0

replace github.com/sealpost/sealpost/pkg => ../../../pkg

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/sealpost/sealpost/pkg v0.0.0-00010101000000-000000000000
	github.com/spf13/cobra v1.10.2
	github.com/stretchr/testify v1.12.1
	github.com/valyala/fastjson v1.6.10
	go.uber.org/goleak v1.3.0
	golang.org/x/sync v0.25.0
	golang.org/x/term v0.48.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.50.0 // indirect
)
