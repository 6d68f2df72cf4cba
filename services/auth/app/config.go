package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/token"
)

// Config is the operator's configuration of the auth service.
type Config struct {
	TokenIssuer   string        `env:"JWT_ISSUER" envDefault:"sealpost" desc:"who issues the tokens (claim iss); the same in every service"`
	TokenAudience string        `env:"JWT_AUDIENCE" envDefault:"sealpost" desc:"who the tokens are for (claim aud); the same in every service"`
	TokenLifetime time.Duration `env:"JWT_EXPIRATION" envDefault:"24h" desc:"how long a token is good for: whole seconds, at most 720h"`

	MinPasswordBytes int `env:"MIN_PASSWORD_BYTES" envDefault:"8" desc:"shortest password that may be chosen, in bytes; at least 8"`

	ReservedNames []string `env:"RESERVED_NAMES" envDefault:"admin,administrator,moderator,official,postmaster,root,sealpost,security,server,staff,support,system,webmaster" desc:"comma-separated names that nobody can register, besides those of every object in JavaScript, such as __proto__"`

	LoginAttempts           int           `env:"LOGIN_ATTEMPTS" envDefault:"10" desc:"logins, and separately registrations, allowed in LOGIN_PERIOD for a username from one address"`
	LoginAttemptsPerAddress int           `env:"LOGIN_ATTEMPTS_PER_ADDRESS" envDefault:"100" desc:"the same for one address and all usernames; an IPv6 address counts as its /64"`
	LoginPeriod             time.Duration `env:"LOGIN_PERIOD" envDefault:"15m" desc:"period of the two limits"`

	LoginFailuresPerAccount int `env:"LOGIN_FAILURES_PER_ACCOUNT" envDefault:"100" desc:"wrong passwords for one username allowed in an hour, from all addresses together; addresses from which the account has logged in before are neither counted nor refused"`

	VerificationsPerMinute int `env:"VERIFICATIONS_PER_MINUTE" envDefault:"6000" desc:"tokens that one address may have verified by /api/auth/verify in a minute; an IPv6 address counts as its /64"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	require := func(ok bool, rule string) {
		if !ok {
			faults = append(faults, errors.New(rule))
		}
	}
	require(c.TokenIssuer != "", "JWT_ISSUER must not be empty")
	require(c.TokenAudience != "", "JWT_AUDIENCE must not be empty")
	require(c.TokenLifetime >= time.Second && c.TokenLifetime <= token.MaxLifetime && c.TokenLifetime%time.Second == 0,
		"JWT_EXPIRATION must be whole seconds, from 1s to 720h")
	require(c.MinPasswordBytes >= api.MinPasswordBytes && c.MinPasswordBytes <= api.MaxPasswordBytes,
		fmt.Sprintf("MIN_PASSWORD_BYTES must be from %d to %d", api.MinPasswordBytes, api.MaxPasswordBytes))
	for _, name := range c.ReservedNames {
		require(api.ValidUsername(name), fmt.Sprintf("RESERVED_NAMES: %q is no username", name))
	}
	require(c.LoginAttempts > 0, "LOGIN_ATTEMPTS must be positive")
	require(c.LoginAttemptsPerAddress > 0, "LOGIN_ATTEMPTS_PER_ADDRESS must be positive")
	require(c.LoginFailuresPerAccount > 0, "LOGIN_FAILURES_PER_ACCOUNT must be positive")
	require(c.LoginPeriod >= time.Second, "LOGIN_PERIOD must be at least 1s")
	require(c.VerificationsPerMinute > 0, "VERIFICATIONS_PER_MINUTE must be positive")
	return errors.Join(faults...)
}
