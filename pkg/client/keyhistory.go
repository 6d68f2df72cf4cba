package client

import (
	"context"
	"crypto/rsa"
	"fmt"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// mostKeyPages bounds how much of a history is read: a server could invent versions for ever. It is enough for 20,000 keys of a user, a
// rotation an hour for two years.
const mostKeyPages = 100

// eachKey passes the keys a user has had, according to the server, to f: the newest first, each version down to 1, until f has enough. It keeps
// one page at a time. A page that does not follow the one before, or that leaves out a version, is an error.
func (c *Client) eachKey(ctx context.Context, username string, f func(version int, key *rsa.PublicKey) (more bool)) error {
	before := 0
	for range mostKeyPages {
		page, err := c.KeyHistory(ctx, username, before, api.MaxKeyHistoryLimit)
		if err == nil {
			err = follows(page, username, before)
		}
		if err != nil {
			return err
		}
		for i := len(page.Versions) - 1; i >= 0; i-- {
			v := page.Versions[i]
			key, err := envelope.ParsePublicKey(v.PublicKey)
			if err != nil {
				return fmt.Errorf("the key of %s: %w", username, err)
			}
			if !f(v.Version, key) {
				return nil
			}
		}
		if page.Next == nil {
			return nil
		}
		before = *page.Next
	}
	return fmt.Errorf("the server goes on with keys of %s after %d pages: it is not asked for more", username, mostKeyPages)
}

// follows checks that a page holds versions without a gap, that it ends just below the version before (with 0 it is the first page), and
// that it says where to go on, unless it begins with version 1.
func follows(page api.KeyHistoryResponse, username string, before int) error {
	if !api.SameUsername(page.Username, username) {
		return fmt.Errorf("the server gave the keys of %q when asked for those of %q", page.Username, username)
	}
	if len(page.Versions) == 0 {
		return fmt.Errorf("the server shows no key of %s where there must be one", username)
	}
	first, last := page.Versions[0].Version, page.Versions[len(page.Versions)-1].Version
	if first < 1 {
		return fmt.Errorf("the server shows version %d of the keys of %s: they count from 1", first, username)
	}
	if before > 0 && last >= before || page.Next != nil && *page.Next > first {
		return fmt.Errorf("the server's pages of the keys of %s do not advance", username)
	}
	for i, v := range page.Versions {
		if v.Version != first+i {
			return missingVersion(username, first+i)
		}
	}
	switch {
	case before > 0 && last != before-1:
		return missingVersion(username, before-1)
	case page.Next != nil && *page.Next < first, page.Next == nil && first != 1:
		return missingVersion(username, first-1)
	}
	return nil
}

func missingVersion(username string, version int) error {
	return fmt.Errorf("version %d of the keys of %s is missing", version, username)
}
