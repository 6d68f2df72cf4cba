package api

import (
	"regexp"
	"strings"
)

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
	MaxKeyHistoryLimit      = 200
)

// usernamePattern is the contract's. A username is also a NATS subject token and a database key: no other character may reach
// either.
var usernamePattern = regexp.MustCompile(`^[A-Za-z0-9_]{3,30}$`)

// ValidUsername reports whether name may be registered.
func ValidUsername(name string) bool { return usernamePattern.MatchString(name) }

// FoldUsername returns a username as names are compared: with A to Z in lower case, and nothing else changed. By Unicode's rules "bo\u017fs" would be
// "boss", and "\u212aate" would be "kate".
func FoldUsername(name string) string {
	if !strings.ContainsFunc(name, isUpper) {
		return name
	}
	folded := []byte(name)
	for i, c := range folded {
		if isUpper(rune(c)) {
			folded[i] += 'a' - 'A'
		}
	}
	return string(folded)
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }

// SameUsername reports whether two names are of one user.
func SameUsername(a, b string) bool { return FoldUsername(a) == FoldUsername(b) }
