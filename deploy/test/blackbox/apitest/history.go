package apitest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

func history(d *deployment) []claim {
	return []claim{
		{"shows what the caller sent or received, newest first", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Cid")
			ann, bob, cid := users[0], users[1], users[2]
			_, one := ann.sends(t, bob)
			_, two := bob.sends(t, ann, cid)
			_, three := cid.sends(t, bob)
			for reader, want := range map[*user][]string{
				ann: {two.MessageID, one.MessageID},
				bob: {three.MessageID, two.MessageID, one.MessageID},
				cid: {three.MessageID, two.MessageID},
			} {
				page := reader.history(t, "")
				require.Equal(t, want, ids(page.Messages))
				for i, m := range page.Messages {
					require.EqualValues(t, len(want)-i, m.Seq)
					require.Equal(t, reader.message(t, m.MessageID), m)
				}
				n := int64(len(want))
				require.Equal(t, []any{int64(1), int64(1), n, false}, []any{page.TotalPages, page.CurrentPage, page.TotalMessages, page.Approximate})
				require.Nil(t, page.Before)
			}
		}},
		{"of somebody who has none is an empty page", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			require.Equal(t, api.HistoryResponse{Messages: []api.Message{}, CurrentPage: 1}, u.history(t, ""))
		}},
		{"is the same at all-messages", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			for range 3 {
				users[0].sends(t, users[1])
			}
			for _, query := range []string{"", "?page=2&limit=2", "?before=3", "?limit=1", "?page=0", "?limit=x"} {
				h, all := users[1].get(t, "/api/messages/history"+query), users[1].get(t, "/api/messages/all-messages"+query)
				require.Equal(t, h.status, all.status, query)
				if h.status == http.StatusOK {
					require.Equal(t, string(h.body), string(all.body), query)
				}
			}
		}},
		{"pages by number", func(t *testing.T) {
			bob, sent := d.correspondence(t, 7)
			for page, want := range [][]string{sent[0:3], sent[3:6], sent[6:7], {}} {
				got := bob.history(t, fmt.Sprintf("?page=%d&limit=3", page+1))
				require.Equal(t, want, ids(got.Messages))
				require.EqualValues(t, page+1, got.CurrentPage)
				require.EqualValues(t, 3, got.TotalPages)
				require.EqualValues(t, 7, got.TotalMessages)
			}
			require.Empty(t, bob.history(t, "?page=1000000&limit=200").Messages)
		}},
		{"pages by position", func(t *testing.T) {
			bob, sent := d.correspondence(t, 7)
			var walked []string
			query := "?limit=3"
			for {
				page := bob.history(t, query)
				walked = append(walked, ids(page.Messages)...)
				if page.Before == nil {
					break
				}
				require.LessOrEqual(t, len(walked), len(sent), "the walk does not end")
				query = fmt.Sprintf("?limit=3&before=%d", *page.Before)
			}
			require.Equal(t, sent, walked)
			require.Empty(t, bob.history(t, "?before=1").Messages)
			require.Equal(t, sent, ids(bob.history(t, "?before=1000000").Messages))
		}},
		{"pages by position are full where messages between have expired, and pages by number repeat none", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			var want []string
			var last string
			for i := range 9 {
				r := ann.letter(bob)
				if i >= 4 && i < 8 {
					r.ExpiresIn = new(int64(1))
				}
				if last = ann.sendsAs(t, r).MessageID; r.ExpiresIn == nil {
					want = append([]string{last}, want...)
				}
			}
			eventually(t, "the messages are still there", func() bool { return len(bob.history(t, "").Messages) == len(want) })
			var numbered []string
			for page := range 3 { // positions 9 to 7, 6 to 4, and 3 to 1
				numbered = append(numbered, ids(bob.history(t, fmt.Sprintf("?page=%d&limit=3", page+1)).Messages)...)
			}
			require.Equal(t, want, numbered)
			one := bob.history(t, "?limit=3&before=10")
			two := bob.history(t, fmt.Sprintf("?limit=3&before=%d", *one.Before))
			require.Equal(t, want, append(ids(one.Messages), ids(two.Messages)...))
			require.Nil(t, two.Before)
		}},
		{"pages by position stand still while messages come", func(t *testing.T) {
			bob, sent := d.correspondence(t, 4)
			page := bob.history(t, "?limit=2")
			d.newUser(t, "Ann").sends(t, bob)
			require.Equal(t, sent[2:], ids(bob.history(t, fmt.Sprintf("?limit=2&before=%d", *page.Before)).Messages))
		}},
		{"takes limits of 1 to 200, 50 unless told otherwise", func(t *testing.T) {
			bob, sent := d.correspondence(t, 52)
			require.Equal(t, sent[:50], ids(bob.history(t, "").Messages))
			require.Equal(t, sent[:1], ids(bob.history(t, "?limit=1").Messages))
			require.Equal(t, sent, ids(bob.history(t, "?limit=200").Messages))
			bob.get(t, "/api/messages/history?limit=0").refusedField(t, api.CodeInvalidField, "limit")
			bob.get(t, "/api/messages/history?limit=201").refusedField(t, api.CodeInvalidField, "limit")
		}},
	}
}

// correspondence returns a user who was sent n messages, and their ids, newest first.
func (d *deployment) correspondence(t *testing.T, n int) (*user, []string) {
	t.Helper()
	users := d.newUsers(t, "Ann", "Bob")
	sent := make([]string, 0, n)
	for range n {
		_, r := users[0].sends(t, users[1])
		sent = append(sent, r.MessageID)
	}
	slices.Reverse(sent)
	return users[1], sent
}

func receipts(d *deployment) []claim {
	return []claim{
		{"tell the sender, and nobody else, who has read a message and when", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Cid", "bob")
			ann, cid, bob := users[0], users[1], users[2]
			_, sent := ann.sends(t, bob, cid)
			require.Equal(t, &[]api.Receipt{}, ann.message(t, sent.MessageID).ReadBy)
			cid.reads(t, sent.MessageID)
			readBy := *ann.message(t, sent.MessageID).ReadBy
			require.Len(t, readBy, 1)
			require.Equal(t, cid.name, readBy[0].Username)
			require.WithinDuration(t, time.Now(), readBy[0].ReadAt.Time, soon)
			require.Equal(t, &readBy, ann.history(t, "").Messages[0].ReadBy)

			require.False(t, cid.message(t, sent.MessageID).IsUnread)
			require.False(t, cid.history(t, "").Messages[0].IsUnread)
			require.True(t, bob.message(t, sent.MessageID).IsUnread)
			for _, reader := range []*user{bob, cid} {
				require.Nil(t, reader.message(t, sent.MessageID).ReadBy)
				require.Nil(t, reader.history(t, "").Messages[0].ReadBy)
				require.Nil(t, reader.receives(t, 1)[0].ReadBy)
			}

			bob.reads(t, sent.MessageID)
			require.Len(t, *ann.message(t, sent.MessageID).ReadBy, 2)
		}},
		{"are of the first time", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			_, sent := users[0].sends(t, users[1])
			users[1].reads(t, sent.MessageID)
			first := users[0].message(t, sent.MessageID).ReadBy
			users[1].reads(t, sent.MessageID)
			require.Equal(t, first, users[0].message(t, sent.MessageID).ReadBy)
		}},
		{"find the message by its id in either case", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			_, sent := users[0].sends(t, users[1])
			upper := fmt.Sprintf("%X", mustHex(t, sent.MessageID))
			require.Equal(t, sent.MessageID, users[1].message(t, upper).MessageID)
			users[1].reads(t, upper)
			require.False(t, users[1].message(t, sent.MessageID).IsUnread)
		}},
		{"of a sender that is no recipient are nothing", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			_, sent := users[0].sends(t, users[1])
			users[0].reads(t, sent.MessageID)
			require.Equal(t, &[]api.Receipt{}, users[0].message(t, sent.MessageID).ReadBy)
			require.True(t, users[1].message(t, sent.MessageID).IsUnread)
		}},
		{"of a sender that is a recipient count", func(t *testing.T) {
			ann := d.newUser(t, "Ann")
			_, sent := ann.sends(t, ann)
			ann.reads(t, sent.MessageID)
			readBy := *ann.message(t, sent.MessageID).ReadBy
			require.Len(t, readBy, 1)
			require.Equal(t, ann.name, readBy[0].Username)
		}},
	}
}

func expiry(d *deployment) []claim {
	return []claim{
		{"takes a message away from everybody when its time has come", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			r := ann.letter(bob)
			r.ExpiresIn = new(int64(1))
			gone := ann.sendsAs(t, r)
			_, kept := ann.sends(t, bob)
			for _, u := range users {
				eventually(t, "the message is still there", func() bool {
					return u.get(t, "/api/messages/"+gone.MessageID).status == http.StatusNotFound
				})
				u.get(t, "/api/messages/"+gone.MessageID).refused(t, http.StatusNotFound, api.CodeMessageNotFound)
				u.post(t, "/api/messages/"+gone.MessageID+"/read", nil).refused(t, http.StatusNotFound, api.CodeMessageNotFound)
				require.Equal(t, []string{kept.MessageID}, ids(u.history(t, "").Messages))
			}
		}},
		{"is kept to by nodes that have the message in memory", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			bob.polls(t, "after=0&wait=0") // from here on a gateway has his mailbox
			r := ann.letter(bob)
			r.ExpiresIn = new(int64(1))
			gone := ann.sendsAs(t, r)
			bob.polls(t, "after=0&wait=20")
			eventually(t, "the message is still there", func() bool {
				return bob.get(t, "/api/messages/"+gone.MessageID).status == http.StatusNotFound
			})
			p := bob.polls(t, "after=0&wait=0")
			require.Equal(t, api.PollResponse{Type: api.PollTimeout, Skipped: []int64{1}, Cursor: epochOf(t, p.Cursor) + ".1"}, p)
		}},
		{"leaves a position that is skipped", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			r := ann.letter(bob)
			r.ExpiresIn = new(int64(1))
			gone := ann.sendsAs(t, r)
			eventually(t, "the message is still there", func() bool {
				return bob.get(t, "/api/messages/"+gone.MessageID).status == http.StatusNotFound
			})
			_, kept := ann.sends(t, bob)
			got := bob.receives(t, 1)[0]
			require.Equal(t, kept.MessageID, got.MessageID)
			require.EqualValues(t, 2, got.Seq)
			require.Equal(t, []int64{1}, bob.polls(t, "after=0&wait=20").Skipped)
			// An earlier cursor is still valid.
			require.Equal(t, []string{kept.MessageID}, ids(bob.polls(t, "after=1&wait=20").Messages))
		}},
	}
}

func privacy(d *deployment) []claim {
	return []claim{
		{"nobody else sees or marks a message, by any route", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Eve")
			ann, bob, eve := users[0], users[1], users[2]
			r, sent := ann.sends(t, bob)
			eve.get(t, "/api/messages/"+sent.MessageID).refused(t, http.StatusNotFound, api.CodeMessageNotFound)
			eve.post(t, "/api/messages/"+sent.MessageID+"/read", nil).refused(t, http.StatusNotFound, api.CodeMessageNotFound)
			require.Empty(t, eve.history(t, "?limit=200").Messages)
			require.Equal(t, api.PollTimeout, eve.polls(t, "after=0&wait=0").Type)

			// Nor by requests that name what belongs to Bob.
			cursor := bob.polls(t, "after=0&wait=20").Cursor
			for _, path := range []string{
				"/api/messages/poll?wait=0&after=" + cursor, "/api/messages/poll?wait=0&after=0&username=" + bob.name,
				"/api/messages/history?user=" + bob.name, "/api/messages/history?username=" + bob.name + "&before=100",
				"/api/messages/all-messages?recipient=" + bob.name, "/api/messages/" + sent.MessageID + "?sender=" + ann.name,
				"/api/messages/" + sent.MessageID + "?username=" + bob.name,
			} {
				text := string(eve.get(t, path).body)
				require.NotContains(t, text, r.EncryptedContent, path)
				require.NotContains(t, text, r.RecipientKeys[bob.name], path)
			}
			require.Equal(t, &[]api.Receipt{}, ann.message(t, sent.MessageID).ReadBy)
			require.True(t, bob.message(t, sent.MessageID).IsUnread)
		}},
		{"a message that is not one's own looks like one that does not exist", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Eve")
			_, sent := users[0].sends(t, users[1])
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				path := func(id string) string {
					if method == http.MethodPost {
						id += "/read"
					}
					return "/api/messages/" + id
				}
				hidden := d.must(t, call{method: method, path: path(sent.MessageID), token: users[2].token}).refused(t, http.StatusNotFound, api.CodeMessageNotFound)
				absent := d.must(t, call{method: method, path: path("0123456789abcdef01234567"), token: users[2].token}).refused(t, http.StatusNotFound, api.CodeMessageNotFound)
				require.Equal(t, absent.Message, hidden.Message)
			}
		}},
		{"nobody is handed another recipient's wrapped key, by any route", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob", "Cid")
			ann, bob, cid := users[0], users[1], users[2]
			r, sent := ann.sends(t, ann, bob, cid)
			for _, reader := range users {
				reader.receives(t, 1)
				answers := []string{
					string(reader.get(t, "/api/messages/"+sent.MessageID).body),
					string(reader.get(t, "/api/messages/history").body),
					string(reader.get(t, "/api/messages/all-messages").body),
					string(reader.get(t, "/api/messages/poll?after=0&wait=20").body),
					string(reader.get(t, "/api/messages/poll").body),
					reader.opens(t, "", "").next(t).data,
				}
				for i, text := range answers {
					for name, key := range r.RecipientKeys {
						if name == reader.name {
							require.Contains(t, text, key, "answer %d", i)
						} else {
							require.NotContains(t, text, key, "answer %d", i)
						}
					}
				}
			}
		}},
		{"no answer tells a password or a token that was handed in", func(t *testing.T) {
			u := d.newUser(t, "Ann")
			for _, a := range []answer{
				d.must(t, call{path: "/api/auth/login", json: api.LoginRequest{Username: u.name, Password: "secret horse"}}),
				d.must(t, call{path: "/api/auth/register", json: api.RegisterRequest{Username: u.name, Password: "secret horse", PublicKey: u.key.pem}}),
				u.post(t, "/api/auth/password", api.PasswordRequest{CurrentPassword: "secret horse", NewPassword: "secret horse"}),
				d.must(t, call{path: "/api/auth/verify", json: api.VerifyRequest{Token: "secret horse"}}),
				d.must(t, call{path: "/api/auth/profile", token: "secret.horse"}),
			} {
				require.NotContains(t, string(a.body), "horse")
			}
		}},
	}
}
