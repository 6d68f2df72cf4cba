package api

import "regexp"

// The limits of the contract that are not configurable.
const (
	MinPasswordBytes        = 8
	MaxPasswordBytes        = 1024
	MaxPublicKeyBytes       = 8 << 10
	MaxRecipients           = 1024
	MaxIVChars              = 64
	MaxWrappedKeyBytes      = 2 << 10
	MaxClientMessageIDChars = 128
	MaxHistoryLimit         = 200
	MaxPollLimit            = 1000
	MaxPollWaitSeconds      = 60
	MaxDirectoryLimit       = 1000
)

// usernamePattern is the contract's. A username is also a NATS subject token and a database key: no other character may reach
// either.
var usernamePattern = regexp.MustCompile(`^[A-Za-z0-9_]{3,30}$`)

// ValidUsername reports whether name may be registered.
func ValidUsername(name string) bool { return usernamePattern.MatchString(name) }
