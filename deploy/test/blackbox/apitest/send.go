package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/api"
)

// retention is the default of RETENTION, in seconds.
const retention = 90 * 24 * 60 * 60

func sending(d *deployment) []claim {
	return []claim{
		{"is acknowledged with the message's id and time", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			_, sent := users[0].sends(t, users[1])
			require.Len(t, sent.MessageID, 24)
			require.False(t, sent.Duplicate)
			require.WithinDuration(t, time.Now(), sent.Timestamp.Time, soon)
		}},
		{"gives each recipient what was sent, with its own wrapped key and no other", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Cid", "bob")
			ann, cid, bob := users[0], users[1], users[2]
			r, sent := ann.sends(t, cid, bob)
			for _, reader := range []*user{bob, cid} {
				want := api.Message{
					ObjectID: sent.MessageID, MessageID: sent.MessageID, Seq: 1, Sender: ann.name,
					EncryptedContent: r.EncryptedContent, IV: r.IV,
					RecipientKeys: map[string]string{reader.name: r.RecipientKeys[reader.name]},
					Recipients:    []string{bob.name, cid.name}, // ordered by the names in lower case
					Timestamp:     sent.Timestamp, IsUnread: true, SenderKeyVersion: 1,
				}
				require.Equal(t, want, reader.message(t, sent.MessageID))
				require.Equal(t, []api.Message{want}, reader.receives(t, 1))
				require.Equal(t, []api.Message{want}, reader.history(t, "").Messages)
			}
		}},
		{"leaves the message in the sender's history, without a key, and out of the sender's polls", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			r, sent := ann.sends(t, bob)
			want := api.Message{
				ObjectID: sent.MessageID, MessageID: sent.MessageID, Seq: 1, Sender: ann.name,
				EncryptedContent: r.EncryptedContent, IV: r.IV, RecipientKeys: map[string]string{}, Recipients: []string{bob.name},
				Timestamp: sent.Timestamp, SenderKeyVersion: 1, ReadBy: &[]api.Receipt{},
			}
			require.Equal(t, want, ann.message(t, sent.MessageID))
			require.Equal(t, []api.Message{want}, ann.history(t, "").Messages)
			_, second := bob.sends(t, ann)
			poll := ann.polls(t, "after=0&wait=20")
			require.Equal(t, []int64{1}, poll.Skipped)
			require.Len(t, poll.Messages, 1)
			require.Equal(t, second.MessageID, poll.Messages[0].MessageID)
		}},
		{"gives a sender that lists itself its message back", func(t *testing.T) {
			ann := d.newUser(t, "Ann")
			r, sent := ann.sends(t, ann)
			got := ann.receives(t, 1)[0]
			require.Equal(t, sent.MessageID, got.MessageID)
			require.Equal(t, r.RecipientKeys, api.WrappedKeys(got.RecipientKeys))
			require.True(t, got.IsUnread)
			require.Equal(t, []api.Message{ann.message(t, sent.MessageID)}, ann.history(t, "").Messages, "one entry, not two")
			require.Equal(t, &[]api.Receipt{}, ann.message(t, sent.MessageID).ReadBy)
		}},
		{"finds recipients by the name in any case and shows them as registered", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].letter()
			r.RecipientKeys[strings.ToUpper(users[1].name)] = "k"
			r.RecipientKeyVersions = map[string]int{strings.ToUpper(users[1].name): 1}
			users[0].sendsAs(t, r)
			got := users[1].receives(t, 1)[0]
			require.Equal(t, []string{users[1].name}, got.Recipients)
			require.Equal(t, map[string]string{users[1].name: "k"}, got.RecipientKeys)
			require.Equal(t, map[string]int{users[1].name: 1}, got.RecipientKeyVersions)
		}},
		{"hands on opaque texts as they are", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			for i, text := range []string{
				"plain", " ", "\n\t\r", `"quoted" \ and / and </script>`, "<&>'", "ünïcödé 漢字 🔐", "\u2028\u2029\ufeff\u200b",
				"\x01\x1f\x7f\u0085", "null", "{}", `\u0041`, "data: x\n\nid: 9\n\n", "�",
			} {
				r := api.SendRequest{EncryptedContent: text, IV: text, RecipientKeys: map[string]string{users[1].name: text}}
				sent := users[0].sendsAs(t, r)
				got := users[1].message(t, sent.MessageID)
				require.Equal(t, text, got.EncryptedContent)
				require.Equal(t, text, got.IV)
				require.Equal(t, text, got.RecipientKeys[users[1].name])
				require.Equal(t, got, users[1].receives(t, i+1)[i])
			}
		}},
		{"reaches nobody if it names somebody who is not registered", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			unknown := []string{
				d.name("Nemo"), "__proto__", "constructor", "ab", "a.b", "a*", "> ", "$ne", "", "ä", strings.Repeat("a", 31), "a/b",
			}
			r := users[0].letter(users[1])
			for _, name := range unknown {
				r.RecipientKeys[name] = "k"
			}
			fault := users[0].post(t, "/api/messages/send", r).refused(t, http.StatusBadRequest, api.CodeUnknownRecipients)
			slices.Sort(unknown)
			require.Equal(t, unknown, fault.UnknownRecipients)
			require.Equal(t, "recipientKeys", fault.Field)
			require.Empty(t, users[0].history(t, "").Messages)
			require.Empty(t, users[1].history(t, "").Messages)
		}},
		{"takes a recipient once, whatever the case of the name", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].letter(users[1])
			r.RecipientKeys[strings.ToUpper(users[1].name)] = "k"
			users[0].post(t, "/api/messages/send", r).refusedField(t, api.CodeInvalidField, "recipientKeys")
		}},
		{"counts one inbox's messages 1, 2, 3 … however many send at once", func(t *testing.T) {
			bob := d.newUser(t, "Bob")
			const senders, each = 4, 8
			var all errgroup.Group
			for _, sender := range d.newUsers(t, "Ann", "Cid", "Dot", "Eve") {
				all.Go(func() error {
					for range each {
						a, err := d.do(t.Context(), call{path: "/api/messages/send", token: sender.token, json: sender.letter(bob)})
						if err == nil {
							_, err = decode[api.SendResponse](a, http.StatusCreated)
						}
						if err != nil {
							return err
						}
					}
					return nil
				})
			}
			require.NoError(t, all.Wait())
			seen := map[string]bool{}
			for _, m := range bob.receives(t, senders*each) {
				require.False(t, seen[m.MessageID], "%s came twice", m.MessageID)
				seen[m.MessageID] = true
			}
		}},
		{"says which of the sender's keys was current", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[0].rotate(t, d.keys[1])
			_, sent := users[0].sends(t, users[1])
			require.Equal(t, 2, users[1].message(t, sent.MessageID).SenderKeyVersion)
		}},
		{"ignores fields that it does not know", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			body := fmt.Sprintf(`{"encryptedContent":"c","iv":"i","recipientKeys":{%q:"k"},"__proto__":{"x":1},"sender":%q,"seq":99,"_id":5}`,
				users[1].name, users[1].name)
			sent := into[api.SendResponse](t, d.must(t, call{path: "/api/messages/send", token: users[0].token, body: []byte(body)}), http.StatusCreated)
			require.Equal(t, users[0].name, users[1].message(t, sent.MessageID).Sender)
		}},
	}
}

func sendLimits(d *deployment) []claim {
	// try sends a letter after a change, and requires that it is accepted or that the field is named.
	try := func(t *testing.T, good bool, field string, change func(r *api.SendRequest, bob *user)) {
		t.Helper()
		users := d.newUsers(t, "Ann", "Bob")
		r := users[0].letter(users[1])
		change(&r, users[1])
		a := users[0].post(t, "/api/messages/send", r)
		if good {
			into[api.SendResponse](t, a, http.StatusCreated)
			return
		}
		a.refusedField(t, api.CodeInvalidField, field)
	}
	return []claim{
		{"iv: 64 characters", func(t *testing.T) {
			for text, good := range map[string]bool{
				strings.Repeat("i", 64): true, strings.Repeat("i", 65): false, strings.Repeat("é", 64): true, strings.Repeat("é", 65): false,
			} {
				try(t, good, "iv", func(r *api.SendRequest, _ *user) { r.IV = text })
			}
		}},
		{"wrapped key: 2 KiB", func(t *testing.T) {
			for text, good := range map[string]bool{
				strings.Repeat("k", 2048): true, strings.Repeat("k", 2049): false, strings.Repeat("é", 1024): true, strings.Repeat("é", 1025): false,
			} {
				try(t, good, "recipientKeys", func(r *api.SendRequest, bob *user) { r.RecipientKeys[bob.name] = text })
			}
		}},
		{"clientMessageId: 128 characters", func(t *testing.T) {
			for text, good := range map[string]bool{
				strings.Repeat("c", 128): true, strings.Repeat("c", 129): false, strings.Repeat("é", 128): true, strings.Repeat("é", 129): false,
			} {
				try(t, good, "clientMessageId", func(r *api.SendRequest, _ *user) { r.ClientMessageID = text })
			}
		}},
		{"expiresIn: 1 second to the retention", func(t *testing.T) {
			for seconds, good := range map[int64]bool{-1: false, 0: false, 1: true, retention: true, retention + 1: false, 1 << 62: false} {
				try(t, good, "expiresIn", func(r *api.SendRequest, _ *user) { r.ExpiresIn = &seconds })
			}
		}},
		{"recipientKeyVersions: from 1 on, of recipients", func(t *testing.T) {
			for version, good := range map[int]bool{-1: false, 0: false, 1: true} {
				try(t, good, "recipientKeyVersions", func(r *api.SendRequest, bob *user) { r.RecipientKeyVersions = map[string]int{bob.name: version} })
			}
			try(t, false, "recipientKeyVersions", func(r *api.SendRequest, _ *user) { r.RecipientKeyVersions = map[string]int{"somebody": 1} })
		}},
		{"recipients: 1 to 1024, and a directory page shows 1000 of them", d.proveCrowd},
		{"more recipients than there may be, in a body as large as may be", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			var body strings.Builder
			body.WriteString(`{"encryptedContent":"c","iv":"i","recipientKeys":{"a":""`)
			for i := 0; body.Len() < 5<<20-20; i++ {
				fmt.Fprintf(&body, `,"%x":""`, i)
			}
			body.WriteString("}}")
			d.must(t, call{path: "/api/messages/send", token: u.token, body: []byte(body.String())}).refusedField(t, api.CodeInvalidField, "recipientKeys")
		}},
		{"body: 5 MiB", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			body := padded(t, users[0].letter(users[1]), 5<<20)
			sent := into[api.SendResponse](t, d.must(t, call{path: "/api/messages/send", token: users[0].token, body: body}), http.StatusCreated)
			got := users[1].receives(t, 1)[0]
			require.Equal(t, sent.MessageID, got.MessageID)
			var r api.SendRequest
			require.NoError(t, json.Unmarshal(body, &r))
			same := r.EncryptedContent == got.EncryptedContent // both are too large to print
			require.True(t, same, "the content came back changed")
		}},
	}
}

// padded encodes a request with its content padded so that the body is exactly size bytes long.
func padded(t *testing.T, r api.SendRequest, size int) []byte {
	t.Helper()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	r.EncryptedContent += strings.Repeat("x", size-len(text))
	text, err = json.Marshal(r)
	require.NoError(t, err)
	require.Len(t, text, size)
	return text
}

// proveCrowd sends one message to as many recipients as allowed.
func (d *deployment) proveCrowd(t *testing.T) {
	ann := d.newUser(t, "Ann")
	crowd := make([]*user, api.MaxRecipients)
	var all errgroup.Group
	all.SetLimit(8)
	for i := range crowd {
		all.Go(func() (err error) {
			crowd[i], err = d.register(t.Context(), "Crowd")
			return err
		})
	}
	require.NoError(t, all.Wait())

	r, sent := ann.sends(t, crowd...)
	for _, reader := range []*user{crowd[0], crowd[500], crowd[1023]} {
		got := reader.receives(t, 1)[0]
		require.Equal(t, sent.MessageID, got.MessageID)
		require.Len(t, got.Recipients, api.MaxRecipients)
		require.Equal(t, map[string]string{reader.name: r.RecipientKeys[reader.name]}, got.RecipientKeys)
	}
	more := ann.letter(append(crowd, ann)...)
	ann.post(t, "/api/messages/send", more).refusedField(t, api.CodeInvalidField, "recipientKeys")

	page := into[api.DirectoryResponse](t, ann.get(t, "/api/keys/users"), http.StatusOK)
	require.Len(t, page.Users, api.MaxDirectoryLimit)
	require.NotNil(t, page.Next)
	require.Equal(t, page.Users[len(page.Users)-1].Username, *page.Next)
}

func staleKeys(d *deployment) []claim {
	return []claim{
		{"are refused, each with its current version, and nothing is sent", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Cid", "Dot")
			ann, bob, cid, dot := users[0], users[1], users[2], users[3]
			bob.rotate(t, d.keys[1])
			cid.rotate(t, d.keys[1])
			cid.rotate(t, d.keys[2])
			r := ann.letter(bob, cid, dot)
			r.RecipientKeyVersions = map[string]int{bob.name: 1, cid.name: 2, dot.name: 1}
			fault := ann.post(t, "/api/messages/send", r).refused(t, http.StatusConflict, api.CodeStaleKeys)
			require.Equal(t, map[string]int{bob.name: 2, cid.name: 3}, fault.Stale)
			for _, u := range users {
				require.Empty(t, u.history(t, "").Messages)
			}

			r.RecipientKeyVersions = map[string]int{bob.name: 2, cid.name: 3, dot.name: 1}
			sent := ann.sendsAs(t, r)
			require.Equal(t, map[string]int{cid.name: 3}, cid.message(t, sent.MessageID).RecipientKeyVersions)
			require.Empty(t, ann.message(t, sent.MessageID).RecipientKeyVersions)
		}},
		{"are refused when they are of a version that is still to come", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].letter(users[1])
			r.RecipientKeyVersions = map[string]int{users[1].name: 2}
			fault := users[0].post(t, "/api/messages/send", r).refused(t, http.StatusConflict, api.CodeStaleKeys)
			require.Equal(t, map[string]int{users[1].name: 1}, fault.Stale)
		}},
		{"do not matter to a sender that gives no version", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[1].rotate(t, d.keys[1])
			_, sent := users[0].sends(t, users[1])
			require.Empty(t, users[1].message(t, sent.MessageID).RecipientKeyVersions)
		}},
		{"keep the version that a message was wrapped for when they are rotated later", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			r := users[0].letter(users[1])
			r.RecipientKeyVersions = map[string]int{users[1].name: 1}
			sent := users[0].sendsAs(t, r)
			users[1].rotate(t, d.keys[1])
			require.Equal(t, map[string]int{users[1].name: 1}, users[1].message(t, sent.MessageID).RecipientKeyVersions)
			require.Equal(t, map[string]int{users[1].name: 1}, users[1].receives(t, 1)[0].RecipientKeyVersions)
		}},
	}
}
