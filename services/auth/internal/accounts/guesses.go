package accounts

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
)

// ErrTooManyGuesses means that too many wrong passwords were tried on an account, from whatever addresses. Nothing was checked.
var ErrTooManyGuesses = errors.New("too many wrong passwords for this account")

// TooManyGuesses is ErrTooManyGuesses with the time until another guess is allowed.
type TooManyGuesses struct{ RetryAfter time.Duration }

// Error implements error.
func (e *TooManyGuesses) Error() string {
	return fmt.Sprintf("%s: the next in %s", ErrTooManyGuesses, e.RetryAfter)
}

// Unwrap returns ErrTooManyGuesses.
func (e *TooManyGuesses) Unwrap() error { return ErrTooManyGuesses }

// signingKeys are what the nodes of auth share and the store does not hold. See token.SigningKeys.
type signingKeys interface {
	Signing() (kid string, key ed25519.PrivateKey)
}

// Addresses makes the marks of addresses. Their key is derived from the signing key: after that is exchanged, addresses are unknown until the
// next login.
type Addresses struct{ Keys signingKeys }

// mark returns what stands for an address with an account; 0 if the address is not known.
func (a Addresses) mark(subject string, from netip.Addr) store.AddressMark {
	prefix := admission.PrefixOf(from)
	if !prefix.IsValid() {
		return 0
	}
	_, signing := a.Keys.Signing()
	key, err := hkdf.Key(sha256.New, signing.Seed(), nil, "sealpost address marks 1", sha256.Size)
	if err != nil {
		return 0 // only for longer keys
	}
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(subject + "\x00" + prefix.String())) // never fails
	return store.AddressMark(binary.BigEndian.Uint64(mac.Sum(nil)))
}

// known reports whether an account's user has shown the password from an address before.
func (a Addresses) known(account store.Account, from netip.Addr) bool {
	mark := a.mark(store.Canonical(account.Username), from)
	return mark != 0 && slices.Contains(account.KnownAddresses, mark)
}

// visit is from where a password is given, and how.
type visit struct {
	from netip.Addr
	// session says that the visitor has a token of the account. Its guesses are counted apart: strangers must not keep a user from changing a
	// password that they try to guess.
	session bool
}

// requester says for whom a visitor's password is checked.
func (v visit) requester(known bool) password.Requester {
	lane := password.Logins
	if known || v.session {
		lane = password.Known
	}
	return password.Requester{Lane: lane, Address: v.from}
}

// shown is the requester of what follows a password that was right.
func (v visit) shown() password.Requester {
	return password.Requester{Lane: password.Known, Address: v.from}
}

// guess counts a guess before it is made, so that no more are under way than are allowed. The caller takes it back if it turns out to be
// none. From a known address nothing is counted, and nothing refused.
func (s *Service) guess(ctx context.Context, v visit, subject string, known bool) (takeBack func(), err error) {
	if known {
		return func() {}, nil
	}
	key := subject
	if v.session {
		key += "|session"
	}
	r, err := s.Guesses.Allow(ctx, key)
	if err != nil {
		return nil, err
	}
	if !r.Allowed {
		return nil, &TooManyGuesses{RetryAfter: r.RetryAfter}
	}
	return func() { s.takeBack(ctx, s.Guesses, key) }, nil
}

// takeBack takes back what was counted, also if the client has gone.
func (s *Service) takeBack(ctx context.Context, l ratelimit.Limiter, key string) {
	ctx, cancel := settling(ctx)
	defer cancel()
	if err := l.GiveBack(ctx, key, 1); err != nil {
		s.Log.WarnContext(ctx, "what was no wrong guess stays counted as one", "error", err.Error())
	}
}

// check reports whether the password is the account's. An account without a hash is one that does not exist: it costs as much.
func (s *Service) check(ctx context.Context, r password.Requester, account store.Account, text string) (match, outdated bool, err error) {
	if account.PasswordHash == "" {
		return false, false, s.Passwords.For(r).VerifyDummy(ctx, text)
	}
	return s.Passwords.For(r).Verify(ctx, text, account.PasswordHash)
}
