module github.com/sealpost/sealpost/deploy/test/networks

go 1.26.0

replace github.com/sealpost/sealpost/pkg => ../../../pkg

replace github.com/sealpost/sealpost/deploy/test/engines => ../engines

replace github.com/sealpost/sealpost/services/standalone => ../../../services/standalone

replace github.com/sealpost/sealpost/services/auth => ../../../services/auth

replace github.com/sealpost/sealpost/services/keys => ../../../services/keys

replace github.com/sealpost/sealpost/services/messages => ../../../services/messages

replace github.com/sealpost/sealpost/services/poll-gateway => ../../../services/poll-gateway

replace github.com/sealpost/sealpost/deploy/test/blackbox => ../blackbox

replace github.com/sealpost/sealpost/deploy/test/load => ../load

require (
	github.com/sealpost/sealpost/deploy/test/blackbox v0.0.0-00010101000000-000000000000
	github.com/sealpost/sealpost/deploy/test/engines v0.0.0
	github.com/sealpost/sealpost/pkg v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sync v0.25.0
	golang.org/x/sys v0.50.0
)

require (
	filippo.io/age v1.3.2 // indirect
	filippo.io/hpke v0.4.0 // indirect
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/google/renameio/v2 v2.0.2 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/nats-io/nats.go v1.55.0 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/redis/go-redis/v9 v9.23.0 // indirect
	github.com/xdg-go/scram v1.4.0 // indirect
	github.com/xdg-go/stringprep v1.0.4 // indirect
	github.com/youmark/pkcs8 v0.0.0-20240726163527-a2c0da244d78 // indirect
	go.mongodb.org/mongo-driver/v2 v2.10.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)
