package redisclient

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// servers knows the Redis processes that a client is connected to, by their run ids.
type servers struct {
	// many: there are several at a time, those of a Cluster.
	many        bool
	incarnation atomic.Uint64
	mu          sync.Mutex
	known       map[string]bool
}

var errNoRunID = errors.New("INFO names no run_id")

// connected is called with each new connection, before it is used.
func (s *servers) connected(ctx context.Context, c *redis.Conn) error {
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(info, "run_id:")
	if !found {
		return errNoRunID
	}
	id, _, _ := strings.Cut(rest, "\r\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[id] {
		return nil
	}
	if s.known == nil || !s.many {
		s.known = map[string]bool{}
	}
	s.known[id] = true
	s.incarnation.Add(1)
	return nil
}
