package password

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/config"
)

// Settings is the operator's configuration of a Hasher.
type Settings struct {
	Memory      config.Bytes  `env:"ARGON2_MEMORY" envDefault:"64MiB" desc:"memory that hashing one password takes, in bytes or with a unit; existing hashes follow at the next login"`
	Time        int           `env:"ARGON2_TIME" envDefault:"3" desc:"passes over that memory"`
	Parallelism int           `env:"ARGON2_PARALLELISM" envDefault:"1" desc:"lanes of one hash, each on a core of its own if there is one"`
	Workers     int           `env:"ARGON2_WORKERS" envDefault:"0" desc:"passwords hashed at a time; 0 for one a core but one, which is left to everything else. Each takes ARGON2_MEMORY"`
	Queue       int           `env:"ARGON2_QUEUE" envDefault:"64" desc:"requests that may wait for their password to be hashed; above it 503"`
	QueueWait   time.Duration `env:"ARGON2_QUEUE_WAIT" envDefault:"5s" desc:"how long a request waits for its password to be hashed; after it 503"`
}

// Validate implements config.Validator.
func (s *Settings) Validate() error {
	var faults []error
	require := func(ok bool, rule string) {
		if !ok {
			faults = append(faults, errors.New(rule))
		}
	}
	require(s.Parallelism >= 1 && s.Parallelism <= MaxParallelism, fmt.Sprintf("ARGON2_PARALLELISM must be from 1 to %d", MaxParallelism))
	require(s.Memory >= config.Bytes(8<<10*max(s.Parallelism, 1)) && s.Memory <= MaxMemoryKiB<<10 && s.Memory%1024 == 0,
		"ARGON2_MEMORY must be whole KiB, from 8KiB a lane to 1GiB")
	require(s.Time >= 1 && s.Time <= MaxTime, fmt.Sprintf("ARGON2_TIME must be from 1 to %d", MaxTime))
	require(s.Workers >= 0, "ARGON2_WORKERS must not be negative")
	require(s.Queue >= 0, "ARGON2_QUEUE must not be negative")
	require(s.QueueWait > 0, "ARGON2_QUEUE_WAIT must be positive")
	return errors.Join(faults...)
}

// Open makes the Hasher of valid settings, measured by reg; nil means by nothing.
func (s *Settings) Open(reg prometheus.Registerer) (*Hasher, error) {
	h, err := New(Config{
		Params:  Params{MemoryKiB: uint32(s.Memory >> 10), Time: uint32(s.Time), Parallelism: uint8(s.Parallelism)},
		Workers: s.Workers, Queue: s.Queue, QueueWait: s.QueueWait, Registry: reg,
	})
	if err != nil {
		return nil, fmt.Errorf("password hashing: %w", err)
	}
	return h, nil
}
