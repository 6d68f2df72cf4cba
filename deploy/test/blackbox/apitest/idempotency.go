package apitest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/api"
)

// keyed is a letter with an unused clientMessageId.
func (u *user) keyed(to ...*user) api.SendRequest {
	r := u.letter(to...)
	r.ClientMessageID = "client id of " + r.IV
	return r
}

// repeats sends a letter again, and requires the first answer.
func (u *user) repeats(t *testing.T, r api.SendRequest, first api.SendResponse) {
	t.Helper()
	again := into[api.SendResponse](t, u.post(t, "/api/messages/send", r), http.StatusOK)
	require.True(t, again.Duplicate)
	require.Equal(t, first.MessageID, again.MessageID)
	require.Equal(t, first.Timestamp, again.Timestamp)
}

func idempotency(d *deployment) []claim {
	return []claim{
		{"a send may be repeated: the same answer, one delivery", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			r := ann.keyed(bob)
			first := ann.sendsAs(t, r)
			require.False(t, first.Duplicate)
			ann.repeats(t, r, first)
			ann.repeats(t, r, first)
			got := bob.receives(t, 1)[0]
			require.Equal(t, r.ClientMessageID, got.ClientMessageID)
			require.Len(t, bob.history(t, "").Messages, 1)
			require.Len(t, ann.history(t, "").Messages, 1)
		}},
		{"the Idempotency-Key header does what the field does", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].keyed(users[1])
			key := r.ClientMessageID
			first := users[0].sendsAs(t, r)
			r.ClientMessageID = ""
			again := into[api.SendResponse](t, d.must(t, call{
				path: "/api/messages/send", token: users[0].token, json: r, header: map[string]string{"Idempotency-Key": key},
			}), http.StatusOK)
			require.True(t, again.Duplicate)
			require.Equal(t, first.MessageID, again.MessageID)
			require.Equal(t, key, users[1].receives(t, 1)[0].ClientMessageID)
		}},
		{"field and header may both be given, if they agree", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].keyed(users[1])
			with := func(header string) answer {
				return d.must(t, call{
					path: "/api/messages/send", token: users[0].token, json: r, header: map[string]string{"Idempotency-Key": header},
				})
			}
			with("another").refusedField(t, api.CodeInvalidField, "clientMessageId")
			first := into[api.SendResponse](t, with(r.ClientMessageID), http.StatusCreated)
			users[0].repeats(t, r, first)
			r.ClientMessageID = ""
			with(strings.Repeat("c", 129)).refusedField(t, api.CodeInvalidField, "clientMessageId")
		}},
		{"another message under the same id is refused", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Cid")
			ann, bob, cid := users[0], users[1], users[2]
			r := ann.keyed(bob)
			first := ann.sendsAs(t, r)
			for name, change := range map[string]func(r *api.SendRequest){
				"content":              func(r *api.SendRequest) { r.EncryptedContent += "!" },
				"iv":                   func(r *api.SendRequest) { r.IV += "!" },
				"wrapped key":          func(r *api.SendRequest) { r.RecipientKeys = map[string]string{bob.name: "another"} },
				"recipient":            func(r *api.SendRequest) { r.RecipientKeys = map[string]string{cid.name: "k"} },
				"one recipient more":   func(r *api.SendRequest) { r.RecipientKeys = map[string]string{bob.name: "k", cid.name: "k"} },
				"the sender as reader": func(r *api.SendRequest) { r.RecipientKeys = map[string]string{ann.name: "k"} },
			} {
				other := r
				change(&other)
				fault := ann.post(t, "/api/messages/send", other)
				require.Equal(t, http.StatusConflict, fault.status, name)
				fault.refused(t, http.StatusConflict, api.CodeIdempotencyMismatch)
			}
			ann.repeats(t, r, first)
			require.Len(t, bob.receives(t, 1), 1)
			require.Empty(t, cid.history(t, "").Messages)
		}},
		{"what is refused for its id leaves nothing in the inboxes", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			r := ann.keyed(bob)
			first := ann.sendsAs(t, r)
			const refused = 60
			for i := range refused {
				other := r
				other.EncryptedContent = strings.Repeat("x", i+1)
				ann.post(t, "/api/messages/send", other).refused(t, http.StatusConflict, api.CodeIdempotencyMismatch)
			}
			ann.repeats(t, r, first)
			_, second := ann.sends(t, bob)
			page := bob.history(t, "?limit=50")
			require.Equal(t, []string{second.MessageID, first.MessageID}, ids(page.Messages))
			require.Less(t, page.Messages[0].Seq, int64(refused/2), "a node may let one through, and no more")
		}},
		{"the case of a recipient's name makes no other message", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].keyed(users[1])
			first := users[0].sendsAs(t, r)
			r.RecipientKeys = map[string]string{strings.ToUpper(users[1].name): r.RecipientKeys[users[1].name]}
			users[0].repeats(t, r, first)
		}},
		{"ids are the sender's own", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Cid")
			r := users[0].keyed(users[1])
			first := users[0].sendsAs(t, r)
			second := users[2].sendsAs(t, r)
			require.NotEqual(t, first.MessageID, second.MessageID)
			require.Len(t, users[1].receives(t, 2), 2)
		}},
		{"a committed send is answered the same after a recipient has rotated its key", func(t *testing.T) {
			// The client has not received the first answer. If it were told now to wrap again, it would send twice.
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].keyed(users[1])
			r.RecipientKeyVersions = map[string]int{users[1].name: 1}
			first := users[0].sendsAs(t, r)
			users[1].rotate(t, d.keys[1])
			users[0].repeats(t, r, first)
		}},
		{"32 at once are one message", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Cid")
			r := users[0].keyed(users[1], users[2])
			statuses, ids := users[0].race(t, func(int) api.SendRequest { return r })
			require.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusOK: 31}, statuses)
			require.Len(t, ids, 1)
			for _, reader := range users[1:] {
				require.Contains(t, ids, reader.receives(t, 1)[0].MessageID)
				require.Len(t, reader.history(t, "").Messages, 1)
			}
		}},
		{"of 32 different ones at once under one id, one is sent", func(t *testing.T) {
			// Until one of them is decided, the others are told to retry.
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].keyed(users[1])
			statuses, ids := users[0].race(t, func(i int) api.SendRequest {
				other := r
				other.EncryptedContent = strings.Repeat("x", i+1)
				return other
			})
			require.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusConflict: 31}, statuses)
			require.Contains(t, ids, users[1].receives(t, 1)[0].MessageID)
			require.Len(t, users[1].history(t, "").Messages, 1)
		}},
		{"without an id, the same content twice is two messages", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].letter(users[1])
			first, second := users[0].sendsAs(t, r), users[0].sendsAs(t, r)
			require.NotEqual(t, first.MessageID, second.MessageID)
			require.Len(t, users[1].receives(t, 2), 2)
		}},
	}
}

// insists retries a letter until its fate is decided.
func (u *user) insists(ctx context.Context, r api.SendRequest) (a answer, err error) {
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		a, err = u.d.do(ctx, call{path: "/api/messages/send", token: u.token, json: r, mayFail: true})
		if err != nil || a.status != http.StatusServiceUnavailable {
			return a, err
		}
	}
	return a, fmt.Errorf("still undecided: %s", short(a.body))
}

// race sends 32 letters at once, and counts the statuses, and the ids of the acknowledged ones.
func (u *user) race(t *testing.T, letter func(i int) api.SendRequest) (statuses map[int]int, ids map[string]bool) {
	t.Helper()
	statuses, ids = map[int]int{}, map[string]bool{}
	var mu sync.Mutex
	var all errgroup.Group
	for i := range 32 {
		r := letter(i)
		all.Go(func() error {
			a, err := u.insists(t.Context(), r)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			if a.status != http.StatusConflict {
				sent, err := decode[api.SendResponse](a, a.status)
				ids[sent.MessageID] = true
				return err
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	return statuses, ids
}
