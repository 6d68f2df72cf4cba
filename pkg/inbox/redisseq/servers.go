package redisseq

import "time"

// Server is what an answer of Redis says of the server that gave it.
type Server struct {
	// Replication is the id of the history of data that it serves (master_replid). A server takes a new one when it becomes a
	// master, be it at its start or by promotion, and its replicas take it over with the data. So two answers of masters with
	// one id come from one server which has been their master all the while. Its run id tells less: a replica has it before it
	// is promoted, and a master keeps it when it is demoted and promoted again.
	Replication string
	// Replica: it is none, or no longer.
	Replica bool
}

// Servers decides by their answers whether counters may have gone back: where another server answers for a shard than before.
// A shard is what one server at a time answers for: a slot of a Cluster, or all there is.
//
// It does not matter when and by whom a connection was made: each answer speaks for itself. Nor does it matter whether the other
// server is a known one: with two masters that answer in turn, each lacks what the other one did. Callers keep it to one at a time.
type Servers struct {
	shards map[int]*shard
	now    func() time.Time
}

type shard struct {
	by          Server
	incarnation uint64
	since       time.Time
}

// NewServers makes Servers that know of none.
func NewServers(now func() time.Time) *Servers { return &Servers{shards: map[int]*shard{}, now: now} }

// Saw notes that a master answered for a shard. It returns the incarnation of the shard's counters, which is another one each time
// that another server answers, and since when that is seen.
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

// Last is the server that answered last for a shard, and the incarnation since; 0 for none.
func (s *Servers) Last(shardID int) (by Server, incarnation uint64) {
	if known := s.shards[shardID]; known != nil {
		return known.by, known.incarnation
	}
	return Server{}, 0
}
