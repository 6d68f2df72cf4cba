package password

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"golang.org/x/crypto/argon2"
)

const (
	saltBytes = 16
	keyBytes  = 32

	// maxEncodedBytes is more than any hash made here has.
	maxEncodedBytes = 512
)

// Params are the costs of a hash (RFC 9106). Parallelism is part of the hash; it does not depend on this machine.
type Params struct {
	MemoryKiB   uint32
	Time        uint32
	Parallelism uint8
}

// The bounds of Params. A stored hash outside them is not computed: otherwise anyone who can write one could stop the service with
// it.
const (
	MaxMemoryKiB   = 1 << 20
	MaxTime        = 64
	MaxParallelism = 64
)

// ErrMalformed means that a stored text is not an Argon2id hash within the bounds.
var ErrMalformed = errors.New("malformed password hash")

// Validate reports which parameter is out of bounds.
func (p Params) Validate() error {
	switch {
	case p.Parallelism < 1 || p.Parallelism > MaxParallelism:
		return fmt.Errorf("argon2 parallelism must be from 1 to %d", MaxParallelism)
	case p.MemoryKiB < 8*uint32(p.Parallelism) || p.MemoryKiB > MaxMemoryKiB:
		return fmt.Errorf("argon2 memory must be from 8 KiB a lane to %d KiB", MaxMemoryKiB)
	case p.Time < 1 || p.Time > MaxTime:
		return fmt.Errorf("argon2 time must be from 1 to %d passes", MaxTime)
	}
	return nil
}

// weakerThan reports whether any cost is below that of q.
func (p Params) weakerThan(q Params) bool { return p.MemoryKiB < q.MemoryKiB || p.Time < q.Time }

// digest is a hash with everything needed to compute it again.
type digest struct {
	Params
	salt, key []byte
}

func compute(p Params, password string, salt []byte) digest {
	return digest{p, salt, argon2.IDKey([]byte(password), salt, p.Time, p.MemoryKiB, p.Parallelism, keyBytes)}
}

func (d digest) matches(password string) bool {
	key := argon2.IDKey([]byte(password), d.salt, d.Time, d.MemoryKiB, d.Parallelism, uint32(len(d.key)))
	return subtle.ConstantTimeCompare(key, d.key) == 1
}

// encode returns the PHC string format, as written by Argon2's reference implementation.
func (d digest) encode() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, d.MemoryKiB, d.Time, d.Parallelism,
		base64.RawStdEncoding.EncodeToString(d.salt), base64.RawStdEncoding.EncodeToString(d.key))
}

var phcPattern = regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

// decode reads what encode writes. It refuses every hash that would be expensive to compute or would match any password.
func decode(encoded string) (digest, error) {
	if len(encoded) > maxEncodedBytes {
		return digest{}, ErrMalformed
	}
	parts := phcPattern.FindStringSubmatch(encoded)
	if parts == nil {
		return digest{}, ErrMalformed
	}
	memory, memoryErr := strconv.ParseUint(parts[1], 10, 32)
	time, timeErr := strconv.ParseUint(parts[2], 10, 32)
	lanes, lanesErr := strconv.ParseUint(parts[3], 10, 8)
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	d := digest{Params{uint32(memory), uint32(time), uint8(lanes)}, salt, key}
	if err := errors.Join(memoryErr, timeErr, lanesErr, saltErr, keyErr, d.Validate()); err != nil {
		return digest{}, ErrMalformed
	}
	if len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return digest{}, ErrMalformed
	}
	return d, nil
}
