package messaging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

// people are registered users with key versions, by canonical name.
type people map[string]store.UserKey

func (p people) LookUp(_ context.Context, wanted []messaging.Wanted) (map[string]store.UserKey, error) {
	found := map[string]store.UserKey{}
	for _, w := range wanted {
		name := w.Name
		if name != store.Canonical(name) || !api.ValidUsername(name) {
			return nil, fmt.Errorf("looked %q up", name)
		}
		if user, there := p[name]; there {
			found[name] = user
		}
	}
	return found, nil
}

func town() people {
	return people{
		"alice": {Username: "Alice", Key: store.Key{Version: 1}}, "bob": {Username: "Bob", Key: store.Key{Version: 3}},
		"carol": {Username: "Carol", Key: store.Key{Version: 1}},
	}
}

// shelf records drafts.
type shelf struct {
	drafts    []inbox.Draft
	committed bool
	err       error
}

func (s *shelf) receipt(d inbox.Draft) inbox.Receipt {
	r := inbox.Receipt{Message: store.Message{ID: store.MessageID{7}, Sender: d.Sender, Content: d.Content}}
	for i, to := range d.Recipients {
		r.Message.Recipients = append(r.Message.Recipients, to.Username)
		r.Entries = append(r.Entries, store.Entry{User: store.Canonical(to.Username), Position: int64(i + 1), Kind: store.Received, WrappedKey: to.WrappedKey})
	}
	return r
}

func (s *shelf) Append(_ context.Context, d inbox.Draft) (inbox.Receipt, error) {
	s.drafts = append(s.drafts, d)
	return s.receipt(d), s.err
}

func (s *shelf) Committed(_ context.Context, d inbox.Draft) (inbox.Receipt, bool, error) {
	r := s.receipt(d)
	r.Duplicate = true
	return r, s.committed, s.err
}

// wire records what is published, by user.
type wire struct {
	events map[string]delivery.Event
	away   bool
}

func (w *wire) Publish(user string, payload []byte, _ []string) error {
	if w.away {
		return bus.ErrDisconnected
	}
	events, err := delivery.Decode(slices.Clone(payload))
	for _, e := range events {
		w.events[user] = e
	}
	return err
}

func (w *wire) PublishRoom([]byte, []string) error { panic("nobody hears rooms") }

func (w *wire) Receivers() int { return 0 }

func (w *wire) Flush(context.Context) error { return nil }

func newService(t testing.TB) (*messaging.Service, *shelf, *wire) {
	s, w := &shelf{}, &wire{events: map[string]delivery.Event{}}
	metrics := messaging.NewMetrics(nil)
	announcer := announcer(w, 1)
	t.Cleanup(announcer.Stop)
	return &messaging.Service{Inbox: s, Directory: town(), Announcer: announcer, Metrics: metrics, Recipients: ratelimit.Off{}, Retention: time.Hour}, s, w
}

var alice = token.Identity{Username: "Alice", Subject: "alice"}

func request(to ...string) api.SendRequest {
	r := api.SendRequest{EncryptedContent: "c1pher", IV: "iv", RecipientKeys: map[string]string{}}
	for _, name := range to {
		r.RecipientKeys[name] = "key for " + name
	}
	return r
}

func TestASendIsCommittedUnderRegisteredNamesAndEachReaderIsToldItsOwn(t *testing.T) {
	service, shelf, wire := newService(t)
	r := request("BOB", "carol")
	r.RecipientKeyVersions = map[string]int{"BOB": 3}
	lifetime := int64(60)
	r.ExpiresIn, r.ClientMessageID = &lifetime, "c1"
	sent, err := service.Send(t.Context(), alice, r)
	require.NoError(t, err)
	require.Equal(t, store.MessageID{7}, sent.ID)
	d := shelf.drafts[0]
	require.Equal(t, "Alice", d.Sender)
	require.Equal(t, 1, d.SenderKeyVersion)
	require.Equal(t, time.Minute, d.Lifetime)
	require.Equal(t, "c1", d.ClientMessageID)
	require.ElementsMatch(t, []inbox.Recipient{{Username: "Bob", WrappedKey: "key for BOB", KeyVersion: 3}, {Username: "Carol", WrappedKey: "key for carol"}}, d.Recipients)
	for user, want := range map[string]string{"bob": "key for BOB", "carol": "key for carol"} {
		require.Contains(t, string(wire.events[user].Object.AppendTo(nil)), want)
	}
	require.NotContains(t, string(wire.events["bob"].Object.AppendTo(nil)), "key for carol")
}

// charges is a limiter that notes what it was asked.
type charges struct {
	asked  []int
	keys   []string
	answer ratelimit.Result
	err    error
}

func (c *charges) Allow(context.Context, string) (ratelimit.Result, error) { panic("one at a time") }

func (c *charges) AllowN(_ context.Context, key string, n int) (ratelimit.Result, error) {
	c.asked, c.keys = append(c.asked, n), append(c.keys, key)
	return c.answer, c.err
}

func (c *charges) GiveBack(context.Context, string, int) error { panic("nothing is given back") }

// crowd makes a town of n more people, and their names.
func crowd(n int) (people, []string) {
	p, names := town(), make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("user", i)
		p[names[i]] = store.UserKey{Username: names[i], Key: store.Key{Version: 1}}
	}
	return p, names
}

func TestASendIsChargedByRecipientUnlessThereAreFew(t *testing.T) {
	service, shelf, _ := newService(t)
	limit := &charges{answer: ratelimit.Result{Allowed: true}}
	service.Recipients = limit
	all, names := crowd(api.MaxRecipients)
	service.Directory = all
	for _, recipients := range []int{1, messaging.FreeRecipients, messaging.FreeRecipients + 1, api.MaxRecipients} {
		_, err := service.Send(t.Context(), alice, request(names[:recipients]...))
		require.NoError(t, err)
	}
	require.Len(t, shelf.drafts, 4)
	require.Equal(t, []int{messaging.FreeRecipients + 1, api.MaxRecipients}, limit.asked)
	require.Equal(t, []string{"alice", "alice"}, limit.keys)
}

// TestASendThatIsRefusedForItsNamesIsCharged, and one that is refused for its form is not.
func TestASendThatIsRefusedForItsNamesIsCharged(t *testing.T) {
	service, _, _ := newService(t)
	limit := &charges{answer: ratelimit.Result{Allowed: true}}
	service.Recipients = limit
	_, names := crowd(100)
	var unknown *messaging.UnknownRecipientsError
	_, err := service.Send(t.Context(), alice, request(names...))
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, []int{100}, limit.asked)
	malformed := request(names...)
	malformed.IV = ""
	_, err = service.Send(t.Context(), alice, malformed)
	require.Error(t, err)
	require.Len(t, limit.asked, 1)
}

// unasked is a directory that must not be asked.
type unasked struct{}

func (unasked) LookUp(context.Context, []messaging.Wanted) (map[string]store.UserKey, error) {
	panic("names were looked up")
}

func TestAboveTheQuotaOfRecipientsNothingIsLookedUpOrWritten(t *testing.T) {
	service, shelf, _ := newService(t)
	service.Directory = unasked{}
	_, names := crowd(17)
	refusal := ratelimit.Result{Limit: 30, RetryAfter: time.Second}
	service.Recipients = &charges{answer: refusal}
	_, err := service.Send(t.Context(), alice, request(names...))
	var tooMany *messaging.TooManyRecipientsError
	require.ErrorAs(t, err, &tooMany)
	require.Equal(t, refusal, tooMany.Quota)
	service.Recipients = &charges{err: ratelimit.ErrUnavailable}
	_, err = service.Send(t.Context(), alice, request(names...))
	require.ErrorIs(t, err, ratelimit.ErrUnavailable)
	require.Empty(t, shelf.drafts)
}

func TestASendGoesThroughWithTheBusAway(t *testing.T) {
	service, _, wire := newService(t)
	wire.away = true
	_, err := service.Send(t.Context(), alice, request("bob"))
	require.NoError(t, err)
}

func TestWhatCannotBeSentIsNamedAndNothingIsWritten(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		change func(*api.SendRequest)
		field  string
	}{
		"no content":           {func(r *api.SendRequest) { r.EncryptedContent = "" }, "encryptedContent"},
		"no iv":                {func(r *api.SendRequest) { r.IV = "" }, "iv"},
		"a long iv":            {func(r *api.SendRequest) { r.IV = strings.Repeat("x", 65) }, "iv"},
		"no recipients":        {func(r *api.SendRequest) { r.RecipientKeys = nil }, "recipientKeys"},
		"none among them":      {func(r *api.SendRequest) { r.RecipientKeys = map[string]string{} }, "recipientKeys"},
		"an empty wrapped key": {func(r *api.SendRequest) { r.RecipientKeys["bob"] = "" }, "recipientKeys"},
		"a long wrapped key":   {func(r *api.SendRequest) { r.RecipientKeys["bob"] = strings.Repeat("x", 2049) }, "recipientKeys"},
		"one of them twice":    {func(r *api.SendRequest) { r.RecipientKeys["Bob"] = "x" }, "recipientKeys"},
		"a long id":            {func(r *api.SendRequest) { r.ClientMessageID = strings.Repeat("x", 129) }, "clientMessageId"},
		"no lifetime":          {func(r *api.SendRequest) { r.ExpiresIn = number(0) }, "expiresIn"},
		"too long a lifetime":  {func(r *api.SendRequest) { r.ExpiresIn = number(3601) }, "expiresIn"},
		"a version of nobody":  {func(r *api.SendRequest) { r.RecipientKeyVersions = map[string]int{"carol": 1} }, "recipientKeyVersions"},
		"no version":           {func(r *api.SendRequest) { r.RecipientKeyVersions = map[string]int{"bob": 0} }, "recipientKeyVersions"},
	} {
		service, shelf, _ := newService(t)
		r := request("bob")
		c.change(&r)
		_, err := service.Send(t.Context(), alice, r)
		var fault *api.Error
		require.ErrorAs(t, err, &fault, name)
		require.Equal(t, c.field, fault.Field, name)
		require.Empty(t, shelf.drafts, name)
	}
}

func TestAllUnknownRecipientsAreListed(t *testing.T) {
	service, shelf, _ := newService(t)
	_, err := service.Send(t.Context(), alice, request("bob", "zoe", "$where", "a.b"))
	var unknown *messaging.UnknownRecipientsError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, []string{"$where", "a.b", "zoe"}, unknown.Names)
	require.Empty(t, shelf.drafts)
}

func TestAMessageForAnOldKeyIsRefusedUnlessItWasCommittedBefore(t *testing.T) {
	service, shelf, _ := newService(t)
	r := request("bob", "carol")
	r.RecipientKeyVersions = map[string]int{"bob": 2, "carol": 1}
	_, err := service.Send(t.Context(), alice, r)
	var stale *messaging.StaleKeysError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, map[string]int{"Bob": 3}, stale.Current)
	require.Empty(t, shelf.drafts)
	shelf.committed = true
	sent, err := service.Send(t.Context(), alice, r)
	require.NoError(t, err)
	require.True(t, sent.Duplicate)
	require.Empty(t, shelf.drafts)
}

func TestASenderWithoutAnAccountCannotSend(t *testing.T) {
	service, _, _ := newService(t)
	_, err := service.Send(t.Context(), token.Identity{Subject: "ghost"}, request("bob"))
	require.ErrorIs(t, err, messaging.ErrNoSender)
}

func TestTheInboxesErrorsPass(t *testing.T) {
	service, shelf, wire := newService(t)
	shelf.err = inbox.ErrNotCommitted
	_, err := service.Send(t.Context(), alice, request("bob"))
	require.ErrorIs(t, err, inbox.ErrNotCommitted)
	require.Empty(t, wire.events, "told of a message that is not committed")
}

// FuzzSend sends arbitrary requests. Each must end as a fault of the request with nothing written, or as a draft within the
// contract's limits.
func FuzzSend(f *testing.F) {
	for _, seed := range []string{
		`{"encryptedContent":"x","iv":"y","recipientKeys":{"bob":"k"}}`, `{"encryptedContent":"x","iv":"y","recipientKeys":{"Bob":"k","bob":"k"}}`,
		`{"encryptedContent":"x","iv":"y","recipientKeys":{"$gt":"k","a.b":"k"},"expiresIn":9999999999}`,
		`{"encryptedContent":"x","iv":"y","recipientKeys":{"bob":"k"},"recipientKeyVersions":{"bob":3},"clientMessageId":"id","expiresIn":60}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r api.SendRequest
		if json.Unmarshal(body, &r) != nil {
			return
		}
		service, shelf, _ := newService(t)
		_, err := service.Send(t.Context(), alice, r)
		var fault *api.Error
		var unknown *messaging.UnknownRecipientsError
		var stale *messaging.StaleKeysError
		if err != nil {
			if !errors.As(err, &fault) && !errors.As(err, &unknown) && !errors.As(err, &stale) {
				t.Fatalf("%q: %v", body, err)
			}
			if len(shelf.drafts) > 0 {
				t.Fatalf("%q was refused and written", body)
			}
			return
		}
		d := shelf.drafts[0]
		if len(d.Recipients) == 0 || len(d.Recipients) > 3 || d.Content == "" || d.Lifetime < 0 || d.Lifetime > time.Hour {
			t.Fatalf("%q became %+v", body, d)
		}
	})
}
