package redisclient_test

import (
	"crypto/rand"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/internal/tlstest"
	"github.com/sealpost/sealpost/pkg/redisclient"
)

// TestAPasswordIsExchangedWithoutAFailedCommand: in Redis a user can have the old and the new password for a while.
func TestAPasswordIsExchangedWithoutAFailedCommand(t *testing.T) {
	admin := enginetest.EmptyRedis(t)
	user := "rotated_" + rand.Text()
	acl := func(rules ...any) {
		t.Helper()
		require.NoError(t, admin.Do(t.Context(), append([]any{"ACL", "SETUSER", user}, rules...)...).Err())
	}
	acl("on", ">before", "~*", "&*", "+@all")
	t.Cleanup(func() { _ = admin.Do(t.Context(), "ACL", "DELUSER", user).Err() })

	file := filepath.Join(t.TempDir(), "url")
	address, err := url.Parse(enginetest.URL(t, enginetest.Redis))
	require.NoError(t, err)
	with := func(password string) string {
		address.User = url.UserPassword(user, password)
		return address.String()
	}
	tlstest.Put(t, file, []byte(with("before")+"\n"))
	client, err := redisclient.Open(redisclient.Config{
		URL: config.Secret(with("before")), URLFile: config.SecretFile(file), Mode: redisclient.Single,
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })

	stop, failed := make(chan struct{}), make(chan error, 1)
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := client.Ping(t.Context()).Err(); err != nil {
				failed <- err
				return
			}
		}
	})
	// reconnected closes the user's connections and waits for new ones.
	reconnected := func() {
		t.Helper()
		require.NoError(t, admin.ClientKillByFilter(t.Context(), "USER", user).Err())
		require.Eventually(t, func() bool { return connections(t, admin, user) > 0 || len(failed) > 0 }, 20*time.Second, time.Millisecond)
	}
	require.Eventually(t, func() bool { return connections(t, admin, user) > 0 }, 20*time.Second, time.Millisecond)
	acl(">after")
	reconnected()
	tlstest.Put(t, file, []byte(with("after")+"\n"))
	acl("<before")
	reconnected()
	close(stop)
	load.Wait()
	require.Empty(t, failed)
	require.NoError(t, client.Ping(t.Context()).Err())
}

// connections is how many a user has.
func connections(t *testing.T, admin *redis.Client, user string) int {
	t.Helper()
	list, err := admin.ClientList(t.Context()).Result()
	require.NoError(t, err)
	return strings.Count(list, "user="+user+" ")
}

func TestAFileWithoutAnAddressIsRefusedAndNotShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	tlstest.Put(t, file, []byte("http://u:hunter2@h"))
	_, err := redisclient.Open(redisclient.Config{URL: "redis://h:1", URLFile: config.SecretFile(file), Mode: redisclient.Single}, nil)
	require.ErrorContains(t, err, "REDIS_URL_FILE")
	require.NotContains(t, err.Error(), "hunter2")
}
