package redisseq

import "time"

// Server identifies the server that gave an answer.
type Server struct {
	// Replication is the id of the data's history (master_replid). A server takes a new id when it becomes a master, at its start or by
	// promotion; its replicas copy the id with the data. So two answers of masters with the same id come from one server that was master
	// all the while. A run id would tell less: a replica has it before promotion, and a master keeps it when it is demoted and promoted
	// again.
	Replication string
	// Replica means that the server is not a master, or no longer one.
	Replica bool
}

// Servers decides from answers whether counters may have gone back: when another server answers for a shard than before. A shard is a slot
// of a Cluster, or everything with a single server; one server at a time answers for it.
//
// Each answer is judged on its own: which connection it came over does not matter. A server that was seen before does not count as known
// either: with two masters that answer in turn, each lacks what the other did. Not safe for concurrent use.
type Servers struct {
	shards map[int]*shard
	now    func() time.Time
}

type shard struct {
	by          Server
	incarnation uint64
	since       time.Time
}

// NewServers makes Servers that have seen no server.
func NewServers(now func() time.Time) *Servers { return &Servers{shards: map[int]*shard{}, now: now} }

// Saw notes that a master answered for a shard. It returns the incarnation of the shard's counters, which changes each time another server
// answers, and when that incarnation was first seen.
func (s *Servers) Saw(shardID int, by Server) (incarnation uint64, since time.Time) {
	known := s.shards[shardID]
	if known == nil {
		known = &shard{}
		s.shards[shardID] = known
	}
	if known.by != by {
		known.by, known.incarnation, known.since = by, known.incarnation+1, s.now()
	}
	return known.incarnation, known.since
}

// Last returns the server that last answered for a shard, and its incarnation; 0 if none has.
func (s *Servers) Last(shardID int) (by Server, incarnation uint64) {
	if known := s.shards[shardID]; known != nil {
		return known.by, known.incarnation
	}
	return Server{}, 0
}
