// Package messaging decides what may be sent, sends it, and publishes it to the polls of the recipients.
package messaging

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// ErrNoSender means that the caller's account no longer exists.
var ErrNoSender = errors.New("the sender's account does not exist")

// UnknownRecipientsError lists unregistered names, as the sender spelled them.
type UnknownRecipientsError struct{ Names []string }

// Error implements error.
func (e *UnknownRecipientsError) Error() string {
	return "nobody is registered as " + strings.Join(e.Names, ", ")
}

// StaleKeysError gives the current key version of each recipient for whose current key the message is not wrapped, by the name that
// the sender used.
type StaleKeysError struct{ Current map[string]int }

// Error implements error.
func (e *StaleKeysError) Error() string {
	names := make([]string, 0, len(e.Current))
	for name := range e.Current {
		names = append(names, name)
	}
	slices.Sort(names)
	return "the message was wrapped for old keys of " + strings.Join(names, ", ")
}

// FreeRecipients is how many recipients a send may have that does not count against the quota of recipients. Sends to so few are bounded by
// the limit of sends, and should not wait for another decision.
const FreeRecipients = 16

// TooManyRecipientsError means that the sender has used up the quota of recipients, for now.
type TooManyRecipientsError struct{ Quota ratelimit.Result }

// Error implements error.
func (e *TooManyRecipientsError) Error() string {
	return "too many recipients in too short a time"
}

// Keys knows who is registered, with which key version.
type Keys interface {
	// KeyVersions returns those of the canonical names that exist, by canonical name. See store.Keys.
	KeyVersions(ctx context.Context, usernames []string) (map[string]store.UserKey, error)
}

// Directory is like Keys, but may cache.
type Directory interface {
	// LookUp returns those of the users that exist, by canonical name. See Wanted for their key versions.
	LookUp(ctx context.Context, wanted []Wanted) (map[string]store.UserKey, error)
}

// Wanted is a user to look up.
type Wanted struct {
	// Name is the canonical one.
	Name string
	// Key asks for the key version. It may be up to KeyTrust old if the news of a rotation was lost.
	Key bool
	// Version, unless 0, is the key version that the sender believes to be current. A result that differs from it is current; one
	// that equals it may be out of date, as described for Key.
	Version int
}

// Appender is the inbox log's writing side. See inbox.Writer.
type Appender interface {
	Append(ctx context.Context, d inbox.Draft) (inbox.Receipt, error)
	Committed(ctx context.Context, d inbox.Draft) (r inbox.Receipt, found bool, err error)
}

// Service sends messages.
type Service struct {
	Inbox     Appender
	Directory Directory
	Announcer *Announcer
	Metrics   *Metrics
	// Recipients bounds how many recipients a user addresses in a time, in sends to more than FreeRecipients.
	Recipients ratelimit.Limiter
	// Retention is the longest, and the default, lifetime of a message.
	Retention time.Duration
}

// Sent is an acknowledged message.
type Sent struct {
	ID        store.MessageID
	At        time.Time
	Duplicate bool
}

// Send commits a message for all its recipients and publishes its events. A fault of the request is an *api.Error,
// *TooManyRecipientsError, *UnknownRecipientsError or *StaleKeysError; then nothing has been written.
func (s *Service) Send(ctx context.Context, caller token.Identity, r api.SendRequest) (Sent, error) {
	if err := s.check(r); err != nil {
		return Sent{}, err
	}
	if err := s.charge(ctx, caller, len(r.RecipientKeys)); err != nil {
		return Sent{}, err
	}
	draft, stale, err := s.draft(ctx, caller, r)
	if err != nil {
		return Sent{}, err
	}
	receipt, err := s.append(ctx, draft, stale)
	if err != nil {
		return Sent{}, err
	}
	s.Metrics.sent(receipt)
	s.Announcer.Announce(ctx, receipt)
	return Sent{ID: receipt.Message.ID, At: receipt.Message.CreatedAt, Duplicate: receipt.Duplicate}, nil
}

// charge counts the recipients of a send before their names are looked up: a send that is refused tells which of them exist, and costs as much
// as one that is accepted.
func (s *Service) charge(ctx context.Context, caller token.Identity, recipients int) error {
	if recipients <= FreeRecipients {
		return nil
	}
	quota, err := s.Recipients.AllowN(ctx, caller.Subject, recipients)
	if err == nil && !quota.Allowed {
		err = &TooManyRecipientsError{Quota: quota}
	}
	return err
}

// append sends the draft unless it is wrapped for old keys. A send that was committed before the keys became old is answered like
// any repeat.
func (s *Service) append(ctx context.Context, draft inbox.Draft, stale map[string]int) (inbox.Receipt, error) {
	if len(stale) == 0 {
		return s.Inbox.Append(ctx, draft)
	}
	receipt, found, err := s.Inbox.Committed(ctx, draft)
	if err == nil && !found {
		err = &StaleKeysError{Current: stale}
	}
	return receipt, err
}

// check checks what needs no lookup.
func (s *Service) check(r api.SendRequest) error {
	switch {
	case r.EncryptedContent == "":
		return api.MissingField("encryptedContent")
	case r.IV == "":
		return api.MissingField("iv")
	case utf8.RuneCountInString(r.IV) > api.MaxIVChars:
		return api.InvalidField("iv", "must be at most 64 characters")
	case r.RecipientKeys == nil:
		return api.MissingField("recipientKeys")
	case len(r.RecipientKeys) == 0 || len(r.RecipientKeys) > api.MaxRecipients:
		return api.InvalidField("recipientKeys", "must name 1 to 1024 recipients")
	case utf8.RuneCountInString(r.ClientMessageID) > api.MaxClientMessageIDChars:
		return api.InvalidField("clientMessageId", "must be at most 128 characters")
	case r.ExpiresIn != nil && (*r.ExpiresIn < 1 || *r.ExpiresIn > int64(s.Retention/time.Second)):
		return api.InvalidField("expiresIn", "must be a number of seconds from 1 to the retention")
	}
	return checkKeys(r)
}

func checkKeys(r api.SendRequest) error {
	seen := make(map[string]bool, len(r.RecipientKeys))
	for name, key := range r.RecipientKeys {
		canonical := store.Canonical(name)
		switch {
		case key == "":
			return api.InvalidField("recipientKeys", "must hold a wrapped key for each recipient")
		case len(key) > api.MaxWrappedKeyBytes:
			return api.InvalidField("recipientKeys", "must hold wrapped keys of at most 2048 bytes")
		case seen[canonical]:
			return api.InvalidField("recipientKeys", "names a recipient twice; names are the same without regard to case")
		}
		seen[canonical] = true
	}
	for name, version := range r.RecipientKeyVersions {
		if _, there := r.RecipientKeys[name]; !there {
			return api.InvalidField("recipientKeyVersions", "names somebody who is not in recipientKeys")
		}
		if version < 1 {
			return api.InvalidField("recipientKeyVersions", "must hold versions from 1 on")
		}
	}
	return nil
}

// draft looks the names up and makes a draft for the inbox log. stale gives the current version of each key that the message is not
// wrapped for.
func (s *Service) draft(ctx context.Context, caller token.Identity, r api.SendRequest) (d inbox.Draft, stale map[string]int, err error) {
	known, err := s.lookUp(ctx, caller, r)
	if err != nil {
		return d, nil, err
	}
	sender, there := known[caller.Subject]
	if !there {
		return d, nil, ErrNoSender
	}
	d = inbox.Draft{
		Sender: sender.Username, SenderKeyVersion: sender.Key.Version,
		Content: r.EncryptedContent, IV: r.IV, ClientMessageID: r.ClientMessageID,
	}
	if r.ExpiresIn != nil {
		d.Lifetime = time.Duration(*r.ExpiresIn) * time.Second
	}
	d.Recipients = make([]inbox.Recipient, 0, len(r.RecipientKeys))
	for name, key := range r.RecipientKeys {
		user := known[store.Canonical(name)]
		version := r.RecipientKeyVersions[name]
		if version != 0 && version != user.Key.Version {
			if stale == nil {
				stale = map[string]int{}
			}
			stale[user.Username] = user.Key.Version
		}
		d.Recipients = append(d.Recipients, inbox.Recipient{Username: user.Username, WrappedKey: key, KeyVersion: version})
	}
	return d, stale, nil
}

// lookUp finds the recipients and the sender, by canonical name. It is an error if a recipient does not exist.
func (s *Service) lookUp(ctx context.Context, caller token.Identity, r api.SendRequest) (map[string]store.UserKey, error) {
	wanted := make([]Wanted, 1, len(r.RecipientKeys)+1)
	wanted[0] = Wanted{Name: caller.Subject, Key: true}
	var unknown []string
	for name := range r.RecipientKeys {
		switch canonical := store.Canonical(name); {
		case !api.ValidUsername(name): // cannot exist, and must not reach a query
			unknown = append(unknown, name)
		case canonical == caller.Subject:
			wanted[0].Version = r.RecipientKeyVersions[name]
		default:
			wanted = append(wanted, Wanted{Name: canonical, Version: r.RecipientKeyVersions[name]})
		}
	}
	looking, span := tracing.Start(ctx, "look up", trace.SpanKindInternal)
	known, err := s.Directory.LookUp(batch.For(looking, caller.Subject), wanted)
	tracing.End(span, err)
	if err != nil {
		return nil, err
	}
	for name := range r.RecipientKeys {
		if _, there := known[store.Canonical(name)]; !there && api.ValidUsername(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, &UnknownRecipientsError{Names: unknown}
	}
	return known, nil
}
