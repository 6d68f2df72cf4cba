package token

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// KeySet holds the keys whose tokens are valid.
type KeySet interface {
	// Key returns the key that kid names.
	Key(kid string) (key ed25519.PublicKey, ok bool)
}

// VerifierConfig says which tokens are valid.
type VerifierConfig struct {
	Keys             KeySet
	Issuer, Audience string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Verifier checks everything about a token except revocations.
type Verifier struct {
	keys   KeySet
	parser *jwt.Parser
	now    func() time.Time
	known  *known
}

// NewVerifier makes a Verifier, or reports what is missing from cfg.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if cfg.Keys == nil || cfg.Issuer == "" || cfg.Audience == "" {
		// An empty issuer or audience would make the parser skip its check.
		return nil, errors.New("token: keys, an issuer and an audience are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Verifier{keys: cfg.Keys, now: cfg.Now, known: newKnown(), parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(cfg.Now),
	)}, nil
}

// Verify returns the identity of one of our tokens. Its errors wrap ErrInvalid or, if the token is valid except that it is too old,
// ErrExpired.
func (v *Verifier) Verify(raw string) (Identity, error) {
	if len(raw) <= maxTokenBytes {
		if id, ok := v.known.get(raw, v.keys, v.now()); ok {
			return id, nil
		}
	}
	if !plausible(raw) {
		return Identity{}, fmt.Errorf("%w: not a compact JWT", ErrInvalid)
	}
	var c claims
	var by signedBy
	_, err := v.parser.ParseWithClaims(raw, &c, func(t *jwt.Token) (key any, err error) {
		by, err = v.key(t)
		return by.key, err
	})
	if err != nil && !onlyExpired(err) {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id, fault := c.identity()
	switch {
	case fault != nil:
		return Identity{}, fault
	case err != nil:
		return Identity{}, ErrExpired
	}
	v.known.add(raw, by, id)
	return id, nil
}

// plausible refuses characters that a token cannot contain: base64 decoders skip line ends, even strict ones, and a token must have
// only one spelling.
func plausible(raw string) bool {
	if raw == "" || len(raw) > maxTokenBytes {
		return false
	}
	return strings.IndexFunc(raw, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) < 0
}

// signedBy is the key that a token names.
type signedBy struct {
	kid string
	key ed25519.PublicKey
}

func (v *Verifier) key(t *jwt.Token) (signedBy, error) {
	if err := checkHeader(t); err != nil {
		return signedBy{}, err
	}
	kid, ok := t.Header["kid"].(string)
	if !ok {
		return signedBy{}, errors.New("no kid")
	}
	key, ok := v.keys.Key(kid)
	if !ok {
		return signedBy{}, errors.New("unknown kid")
	}
	return signedBy{kid, key}, nil
}

// onlyExpired reports whether expiry is the parser's only complaint: it joins all faults of the claims, and checks them only after
// the signature.
func onlyExpired(err error) bool {
	if !errors.Is(err, jwt.ErrTokenExpired) {
		return false
	}
	for _, other := range []error{
		jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenNotValidYet,
		jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenInvalidSubject, jwt.ErrTokenInvalidId,
	} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}
