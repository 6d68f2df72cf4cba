package client_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

// numbered are the versions first to last of a history, in which each has the key that keyOf says.
func numbered(first, last int, keyOf func(version int) string) []api.KeyVersion {
	versions := []api.KeyVersion{}
	for v := first; v <= last; v++ {
		versions = append(versions, api.KeyVersion{Version: v, PublicKey: keyOf(v)})
	}
	return versions
}

// history serves a user's history as a server does, in pages, and counts the requests.
func (s *script) history(name string, current int, keyOf func(version int) string) (requests *int) {
	requests = new(int)
	s.on("GET /api/keys/user/"+name+"/history", func(w http.ResponseWriter, r *http.Request) {
		*requests++
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		require.NoError(s.t, err)
		require.Equal(s.t, api.MaxKeyHistoryLimit, limit)
		last := current
		if text := r.URL.Query().Get("before"); text != "" {
			before, err := strconv.Atoi(text)
			require.NoError(s.t, err)
			last = before - 1
		}
		first := max(1, last-limit+1)
		answer := api.KeyHistoryResponse{Username: name, Versions: numbered(first, last, keyOf)}
		if first > 1 {
			answer.Next = &first
		}
		reply(w, 200, answer)
	})
	return requests
}

func TestAHistoryIsReadPageByPageAndNoFurtherThanNeeded(t *testing.T) {
	const current = 2*api.MaxKeyHistoryLimit + 50
	texts := []string{publicKey(t, 0), publicKey(t, 1)}
	keyOf := func(version int) string { return texts[min(version-1, 1)] } // the first version's key, and the others'
	for name, c := range map[string]struct {
		key, requests int
		had           bool
	}{
		"a key of the first page": {1, 1, true},
		"the very first key":      {0, 3, true},
		"a key of no page":        {2, 3, false},
	} {
		s := newScript(t)
		requests := s.history("bob", current, keyOf)
		had, err := s.messenger().HadKey(t.Context(), "bob", &testKeys()[c.key].PublicKey)
		require.NoError(t, err, name)
		require.Equal(t, c.had, had, name)
		require.Equal(t, c.requests, *requests, name)
	}
}

// TestAServerWithoutPagesIsRead: one of before them gives all keys, and does not speak of a next page.
func TestAServerWithoutPagesIsRead(t *testing.T) {
	s := newScript(t)
	texts := []string{publicKey(t, 0), publicKey(t, 1)}
	s.on("GET /api/keys/user/bob/history", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, map[string]any{
			"username": "bob", "versions": numbered(1, api.MaxKeyHistoryLimit+50, func(version int) string { return texts[min(version-1, 1)] }),
		})
	})
	for key, had := range []bool{true, true, false} {
		got, err := s.messenger().HadKey(t.Context(), "bob", &testKeys()[key].PublicKey)
		require.NoError(t, err)
		require.Equal(t, had, got)
	}
}

func TestACandidateGetsTheHighestOfItsVersionsOnWhateverPage(t *testing.T) {
	s := newScript(t)
	texts := []string{publicKey(t, 0), publicKey(t, 1)}
	requests := s.history("Alice", 3*api.MaxKeyHistoryLimit, func(version int) string {
		if version == 250 || version == 230 || version == 7 {
			return texts[1]
		}
		return texts[0]
	})
	m := s.messenger()
	m.Keys = m.Keys.With(testKeys()[1])
	require.NoError(t, m.ResolveCandidates(t.Context()))
	require.Equal(t, 250, m.Keys.Current().Version)
	require.Equal(t, 2, *requests, "what is older is of no use")
}

func TestAHistoryThatDoesNotFollowIsAnError(t *testing.T) {
	text := publicKey(t, 1)
	keyOf := func(int) string { return text }
	page := func(next *int, versions ...api.KeyVersion) api.KeyHistoryResponse {
		return api.KeyHistoryResponse{Username: "bob", Versions: versions, Next: next}
	}
	first := page(new(11), numbered(11, 20, keyOf)...)
	for name, c := range map[string]struct {
		pages []api.KeyHistoryResponse
		says  string
	}{
		"the page of before again":            {[]api.KeyHistoryResponse{first, first}, "do not advance"},
		"a page that overlaps":                {[]api.KeyHistoryResponse{first, page(new(5), numbered(5, 11, keyOf)...)}, "do not advance"},
		"one that sends back where one began": {[]api.KeyHistoryResponse{page(new(21), numbered(11, 20, keyOf)...)}, "do not advance"},
		"an empty page":                       {[]api.KeyHistoryResponse{first, page(new(5))}, "no key of bob where there must be one"},
		"an empty last page":                  {[]api.KeyHistoryResponse{first, page(nil)}, "no key of bob where there must be one"},
		"a gap between pages":                 {[]api.KeyHistoryResponse{first, page(nil, numbered(1, 9, keyOf)...)}, "version 10 of the keys of bob is missing"},
		"a gap before the next page":          {[]api.KeyHistoryResponse{page(new(10), numbered(11, 20, keyOf)...)}, "version 10 of the keys of bob is missing"},
		"a gap in a page":                     {[]api.KeyHistoryResponse{page(nil, append(numbered(1, 4, keyOf), numbered(6, 8, keyOf)...)...)}, "version 5 of the keys of bob is missing"},
		"an end before version 1":             {[]api.KeyHistoryResponse{page(nil, numbered(2, 8, keyOf)...)}, "version 1 of the keys of bob is missing"},
		"versions below 1":                    {[]api.KeyHistoryResponse{page(new(1), numbered(1, 8, keyOf)...), page(nil, numbered(-3, 0, keyOf)...)}, "count from 1"},
		"another user's page":                 {[]api.KeyHistoryResponse{first, {Username: "mallory", Versions: numbered(1, 10, keyOf)}}, "when asked for those of"},
	} {
		s := newScript(t)
		asked := 0
		s.on("GET /api/keys/user/bob/history", func(w http.ResponseWriter, _ *http.Request) {
			if asked == len(c.pages) {
				t.Errorf("%s: it goes on", name)
				panic(http.ErrAbortHandler)
			}
			asked++
			reply(w, 200, c.pages[asked-1])
		})
		_, err := s.messenger(client.WithPatience(0)).HadKey(t.Context(), "bob", &testKeys()[0].PublicKey)
		require.ErrorContains(t, err, c.says, name)
		require.Equal(t, len(c.pages), asked, name)
	}
}
