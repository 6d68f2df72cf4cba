package apitest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/api"
)

// polls polls once.
func (u *user) polls(t *testing.T, query string) api.PollResponse {
	t.Helper()
	return into[api.PollResponse](t, u.get(t, "/api/messages/poll?"+query), http.StatusOK)
}

// receives polls from the beginning until it has n messages, and requires that positions have no gap and that no more messages come.
func (u *user) receives(t *testing.T, n int) []api.Message {
	t.Helper()
	var all []api.Message
	cursor := "0"
	for len(all) < n {
		p := u.polls(t, "wait=20&limit=1000&after="+cursor)
		require.Equal(t, api.PollMessages, p.Type, "%d of %d messages came", len(all), n)
		requireContiguous(t, cursor, p)
		all, cursor = append(all, p.Messages...), p.Cursor
	}
	require.Len(t, all, n)
	require.Equal(t, api.PollTimeout, u.polls(t, "wait=0&after="+cursor).Type, "more messages than there should be")
	return all
}

// requireContiguous requires that a poll's answer accounts once for every position from the cursor of the request to the one it returns.
func requireContiguous(t *testing.T, after string, p api.PollResponse) {
	t.Helper()
	told := slices.Clone(p.Skipped)
	last := int64(0)
	for _, m := range p.Messages {
		require.Greater(t, m.Seq, last, "messages out of order")
		last = m.Seq
		told = append(told, m.Seq)
	}
	slices.Sort(told)
	var want []int64
	for position := positionOf(t, after) + 1; position <= positionOf(t, p.Cursor); position++ {
		want = append(want, position)
	}
	require.Equal(t, want, told)
}

// positionOf returns the position in a cursor. Cursors are opaque to clients, but not to the suite.
func positionOf(t *testing.T, cursor string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(cursor[strings.IndexByte(cursor, '.')+1:], 10, 64)
	require.NoError(t, err)
	return n
}

// epochOf returns the epoch in a cursor.
func epochOf(t *testing.T, cursor string) string {
	t.Helper()
	epoch, _, found := strings.Cut(cursor, ".")
	require.True(t, found, "%q has no epoch", cursor)
	return epoch
}

// ids returns the ids of messages, in order.
func ids(messages []api.Message) []string {
	list := make([]string, 0, len(messages))
	for _, m := range messages {
		list = append(list, m.MessageID)
	}
	return list
}

func polls(d *deployment) []claim {
	return []claim{
		{"are answered at once with what is after the cursor, oldest first", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			var sent []string
			for range 3 {
				_, r := users[0].sends(t, users[1])
				sent = append(sent, r.MessageID)
			}
			bob := users[1]
			all := bob.polls(t, "after=0&wait=20")
			require.Equal(t, api.PollMessages, all.Type)
			require.Equal(t, sent, ids(all.Messages))
			require.EqualValues(t, 3, positionOf(t, all.Cursor))
			for i := range sent {
				for _, after := range []string{strconv.Itoa(i), fmt.Sprintf("%s.%d", epochOf(t, all.Cursor), i)} {
					p := bob.polls(t, "wait=20&after="+after)
					require.Equal(t, sent[i:], ids(p.Messages))
					require.Equal(t, all.Cursor, p.Cursor)
				}
			}
			require.Equal(t, all, bob.polls(t, "after=0&wait=20"), "the same question has the same answer")
		}},
		{"give at most limit messages, and the cursor to go on from", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			for range 5 {
				users[0].sends(t, users[1])
			}
			cursor := "0"
			for _, want := range []int{2, 2, 1} {
				p := users[1].polls(t, "limit=2&wait=20&after="+cursor)
				require.Len(t, p.Messages, want)
				requireContiguous(t, cursor, p)
				cursor = p.Cursor
			}
		}},
		{"give 100 messages unless told otherwise", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			var all errgroup.Group
			all.SetLimit(8)
			for range 103 {
				all.Go(func() error {
					a, err := d.do(t.Context(), call{path: "/api/messages/send", token: users[0].token, json: users[0].letter(users[1])})
					if err == nil {
						_, err = decode[api.SendResponse](a, http.StatusCreated)
					}
					return err
				})
			}
			require.NoError(t, all.Wait())
			first := users[1].polls(t, "after=0&wait=20")
			require.Len(t, first.Messages, 100)
			require.Len(t, users[1].polls(t, "wait=20&after="+first.Cursor).Messages, 3)
			require.Len(t, users[1].polls(t, "limit=1000&wait=20&after=0").Messages, 103)
		}},
		{"time out with a cursor when nothing comes", func(t *testing.T) {
			u := d.newUser(t, "Bob")
			p := u.polls(t, "after=0&wait=0")
			require.Equal(t, api.PollResponse{Type: api.PollTimeout, Cursor: epochOf(t, p.Cursor) + ".0"}, p)
			began := time.Now()
			require.Equal(t, p, u.polls(t, "wait=1&after="+p.Cursor))
			require.GreaterOrEqual(t, time.Since(began), time.Second)
		}},
		{"take a limit of 1 to 1000 and a wait of 0 to 60 seconds", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			users[0].sends(t, users[1])
			for query, field := range map[string]string{
				"limit=0": "limit", "limit=1": "", "limit=1000": "", "limit=1001": "limit",
				"wait=-1": "wait", "wait=0": "", "wait=60": "", "wait=61": "wait",
			} {
				a := users[1].get(t, "/api/messages/poll?after=0&"+query)
				if field != "" {
					a.refusedField(t, api.CodeInvalidField, field)
					continue
				}
				require.Equal(t, http.StatusOK, a.status, query)
			}
		}},
		{"are all answered when a message comes", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			answers := make([]api.PollResponse, 5)
			var waiting errgroup.Group
			for i := range answers {
				waiting.Go(func() (err error) {
					answers[i], err = users[1].pollOnce(t.Context(), "after=0&wait=60")
					return err
				})
			}
			began := time.Now()
			_, sent := users[0].sends(t, users[1])
			require.NoError(t, waiting.Wait())
			require.Less(t, time.Since(began), 20*time.Second)
			for _, p := range answers {
				require.Equal(t, []string{sent.MessageID}, ids(p.Messages))
			}
		}},
		{"whose clients have gone take no message with them", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ctx, hangUp := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer hangUp()
			_, err := users[1].pollOnce(ctx, "after=0&wait=60")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, sent := users[0].sends(t, users[1])
			require.Equal(t, []string{sent.MessageID}, ids(users[1].receives(t, 1)))
		}},
		{"tell of positions that hold nothing for the reader", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			bob.sends(t, ann) // position 1 of Bob, which brings him no message
			p := bob.polls(t, "after=0&wait=0")
			require.Equal(t, api.PollResponse{Type: api.PollTimeout, Skipped: []int64{1}, Cursor: epochOf(t, p.Cursor) + ".1"}, p)
			ann.sends(t, bob) // 2
			bob.sends(t, ann) // 3
			ann.sends(t, bob) // 4
			last := bob.receives(t, 2)[1]
			require.EqualValues(t, 4, last.Seq)
			p = bob.polls(t, "after=0&wait=20")
			require.Equal(t, []int64{1, 3}, p.Skipped)
			// A limit counts messages, not positions.
			p = bob.polls(t, "after=0&wait=20&limit=1")
			require.Len(t, p.Messages, 1)
			requireContiguous(t, "0", p)
		}},
		{"do not outlive their token", func(t *testing.T) {
			u := d.newUser(t, "Bob")
			if d.SigningKey == nil {
				return
			}
			header := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": headerOf(t, u.token)["kid"]}
			u.token = eddsa(header, changed(claimsOf(t, u.token), "exp", time.Now().Unix()+2), d.SigningKey)
			began := time.Now()
			require.Equal(t, api.PollTimeout, u.polls(t, "after=0&wait=60").Type)
			require.Less(t, time.Since(began), 20*time.Second)
		}},
	}
}

// pollOnce is polls for any goroutine.
func (u *user) pollOnce(ctx context.Context, query string) (api.PollResponse, error) {
	a, err := u.d.do(ctx, call{path: "/api/messages/poll?" + query, token: u.token})
	if err != nil {
		return api.PollResponse{}, err
	}
	return decode[api.PollResponse](a, http.StatusOK)
}

func cursors(d *deployment) []claim {
	return []claim{
		{"begin at the head with latest", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			ann, bob := users[0], users[1]
			empty := bob.polls(t, "after=latest&wait=0")
			require.Equal(t, api.PollTimeout, empty.Type)
			require.Zero(t, positionOf(t, empty.Cursor))
			ann.sends(t, bob)
			ann.sends(t, bob)
			bob.receives(t, 2)
			head := bob.polls(t, "after=latest&wait=0")
			require.Equal(t, api.PollTimeout, head.Type)
			require.EqualValues(t, 2, positionOf(t, head.Cursor))
			_, third := ann.sends(t, bob)
			require.Equal(t, []string{third.MessageID}, ids(bob.polls(t, "wait=20&after="+head.Cursor).Messages))
		}},
		{"that were given once stay good", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			start := users[1].polls(t, "after=0&wait=0").Cursor
			_, first := users[0].sends(t, users[1])
			_, second := users[0].sends(t, users[1])
			users[1].receives(t, 2)
			require.Equal(t, []string{first.MessageID, second.MessageID}, ids(users[1].polls(t, "wait=20&after="+start).Messages))
		}},
		{"past the head are reset, never met with silence", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			bob := users[1]
			epoch := epochOf(t, bob.polls(t, "after=0&wait=0").Cursor)
			_, sent := users[0].sends(t, bob)
			bob.receives(t, 1)
			for _, after := range []string{"2", "1000000", "9223372036854775807", epoch + ".2"} {
				began := time.Now()
				p := bob.polls(t, "wait=60&after="+after)
				require.Equal(t, api.PollReset, p.Type, after)
				require.Less(t, time.Since(began), 20*time.Second)
				require.Equal(t, []string{sent.MessageID}, ids(bob.polls(t, "wait=20&after="+p.Cursor).Messages))
			}
		}},
		{"of another history of the log are reset, wherever they stand", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			bob := users[1]
			_, sent := users[0].sends(t, bob)
			epoch := epochOf(t, bob.polls(t, "after=0&wait=20").Cursor)
			for _, after := range []string{"old.0", "old.1", "old.7", epoch + "x.1", "x" + epoch + ".1"} {
				p := bob.polls(t, "wait=60&after="+after)
				require.Equal(t, api.PollReset, p.Type, after)
				require.Equal(t, epoch, epochOf(t, p.Cursor))
				require.Equal(t, []string{sent.MessageID}, ids(bob.polls(t, "wait=20&after="+p.Cursor).Messages))
			}
		}},
		{"are of one epoch for everybody", func(t *testing.T) {
			users := d.newUsers(t, "Ann", "Bob")
			require.Equal(t, users[0].polls(t, "after=0&wait=0").Cursor, users[1].polls(t, "after=0&wait=0").Cursor)
		}},
	}
}
