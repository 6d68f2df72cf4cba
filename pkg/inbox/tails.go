package inbox

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// tailChunk is how many inboxes are handled in one round trip.
	tailChunk = 256
	// tailShare is how many of them one send may use while others wait. A send with more is a large one.
	tailShare = 64
	// tailWorkers is how many chunks are under way at a time; largeWorkers is how many of them may be of large sends.
	tailWorkers  = 8
	largeWorkers = 6
	// tailWindow is how many entries are placed after one tail at a time, and how many positions up to the tail are checked for gaps.
	tailWindow = 16
	// windowReads is how many inboxes of a chunk are checked at a time.
	windowReads = 8
	// maxTailJobs bounds the memory of what waits: the recipients of 256 of the largest sends.
	maxTailJobs = 1 << 18
)

// tails reads the tails of inboxes, and places entries after them while no counter is available.
//
// It handles many inboxes of several sends in one round trip, called a chunk, and has a few chunks under way at a time. An inbox is in one
// chunk at a time; requests that come meanwhile are handled together in its next one. So a read begins after it was requested, and sends to
// one inbox are placed together, not one by one. A chunk takes either large sends or small ones, and large sends may not use all workers,
// so neither kind waits behind the other. Chunks have their own timeout: a send that gives up leaves the tails read for it to the counters.
//
// Placing must leave no position free below an entry: a counter that does not know of the entry would hand that position out. So entries
// take the positions right after the tail. Before any of them is reported as written, gaps shortly below the tail are filled with holes: a
// process that died while placing may have left them.
type tails struct {
	cfg *Config
	// insert is the bulk insert of entries.
	insert func(context.Context, []store.Entry) (written []bool, err error)
	// leave receives the tails that were read for sends that have given up.
	leave func(context.Context, []Want)

	mu      sync.Mutex
	lanes   map[string]*lane
	small   []*group // waiting
	large   []*group // waiting; they take turns
	jobs    int
	working int
	// onLarge counts the workers that handle chunks of large sends.
	onLarge int
	idle    chan struct{} // closed once quit is closed and no worker runs
	quit    chan struct{}
	stopped bool
}

// visit is what one send requests from tails.
type visit struct {
	ctx  context.Context
	jobs []job
	done chan struct{}

	mu   sync.Mutex
	left int
	gone bool // its caller has given up
}

// job is one inbox of a visit: read its tail or, if there is an entry, place the entry after the tail. The goroutine that waits for the
// visit reads the result fields once the visit is done.
type job struct {
	visit *visit
	user  string
	entry *store.Entry

	tail   int64
	readAt time.Time
	read   bool
	// position is the entry's position, if it was written.
	position int64
	written  bool
	err      error
}

func newTails(cfg *Config) *tails {
	return &tails{cfg: cfg, lanes: map[string]*lane{}, idle: make(chan struct{}), quit: make(chan struct{})}
}

// read reads the tails of the users of wants into wants.
func (t *tails) read(ctx context.Context, wants []Want) error {
	v := newVisit(ctx, len(wants))
	for i := range v.jobs {
		v.jobs[i].user = wants[i].User
	}
	if err := t.do(v); err != nil {
		return err
	}
	for i := range wants {
		wants[i].Tail, wants[i].ReadAt = v.jobs[i].tail, v.jobs[i].readAt
	}
	return nil
}

// place inserts entries after the tails of their inboxes, sets their positions, and reports for each whether it was written.
func (t *tails) place(ctx context.Context, entries []store.Entry) (written []bool, err error) {
	v := newVisit(ctx, len(entries))
	for i := range v.jobs {
		e := entries[i] // the caller goes on to use its own if it gives up
		v.jobs[i].user, v.jobs[i].entry = e.User, &e
	}
	if err := t.do(v); err != nil {
		return nil, err
	}
	written = make([]bool, len(entries))
	for i := range entries {
		entries[i].Position, written[i] = v.jobs[i].position, v.jobs[i].written
	}
	return written, nil
}

func newVisit(ctx context.Context, n int) *visit {
	v := &visit{ctx: ctx, jobs: make([]job, n), done: make(chan struct{}), left: n}
	for i := range v.jobs {
		v.jobs[i].visit = v
	}
	return v
}

// do waits until a visit is done. If its ctx ends first, entries not yet begun are not placed; tails are still read.
func (t *tails) do(v *visit) error {
	if err := t.enqueue(v); err != nil {
		return err
	}
	select {
	case <-v.done:
	case <-v.ctx.Done():
		t.abandon(v)
		return v.ctx.Err()
	case <-t.quit:
		return batch.ErrStopped
	}
	for i := range v.jobs {
		if err := v.jobs[i].err; err != nil {
			return err
		}
	}
	return nil
}

// abandon passes on the tails that were read for a visit that has given up. Those still to be read are passed on as they come.
func (t *tails) abandon(v *visit) {
	v.mu.Lock()
	v.gone = true
	var read []Want
	for i := range v.jobs {
		if j := &v.jobs[i]; j.read {
			read = append(read, j.want())
		}
	}
	v.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(read) == 0 || t.stopped {
		return
	}
	t.working++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), t.cfg.WriteTimeout)
		defer cancel()
		t.leave(ctx, read)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.workerDone()
	}()
}

// stretch is one inbox of a chunk.
type stretch struct {
	lane *lane
	jobs []*job
	tail store.Tail
	// rows are the jobs that place entries, from the tail on.
	rows []*job
}

// cut takes the lanes of the next chunk, some of each group in turn, with their jobs.
func cut(queue *[]*group) (chunk []stretch) {
	for len(*queue) > 0 && len(chunk) < tailChunk {
		g := (*queue)[0]
		(*queue)[0] = nil
		*queue = (*queue)[1:]
		n := min(len(g.lanes), tailShare, tailChunk-len(chunk))
		for _, l := range g.lanes[:n] {
			take := min(len(l.jobs), tailWindow)
			chunk = append(chunk, stretch{lane: l, jobs: l.jobs[:take:take]})
			l.jobs = l.jobs[take:]
		}
		if g.lanes = g.lanes[n:]; len(g.lanes) > 0 {
			*queue = append(*queue, g)
		}
	}
	return chunk
}

// runChunk handles one chunk.
func (t *tails) runChunk(chunk []stretch) {
	ctx, cancel := context.WithTimeout(context.Background(), t.cfg.WriteTimeout)
	defer cancel()
	users := make([]string, len(chunk))
	for i, s := range chunk {
		users[i] = s.lane.user
	}
	readAt := time.Now()
	found, err := t.cfg.Store.Tails(ctx, users)
	var left []Want
	for i := range chunk {
		s := &chunk[i]
		s.tail = found[s.lane.user]
		known := false
		for _, j := range s.jobs {
			j.tail, j.readAt, j.err = s.tail.Position, readAt, err
			if j.entry != nil && err == nil && j.visit.ctx.Err() == nil {
				j.position = s.tail.Position + int64(len(s.rows)) + 1
				s.rows = append(s.rows, j)
				continue
			}
			if gone := j.finish(); gone && j.read && !known { // once per inbox
				left, known = append(left, j.want()), true
			}
		}
	}
	t.insertRows(ctx, chunk)
	if len(left) > 0 {
		t.leave(ctx, left)
	}
}

// finish marks one job of a visit as done, and reports whether the visit has given up.
func (j *job) finish() (gone bool) {
	v := j.visit
	v.mu.Lock()
	defer v.mu.Unlock()
	j.read = j.entry == nil && j.err == nil
	if v.left--; v.left == 0 {
		close(v.done)
	}
	return v.gone
}

// want raises the counter of the job's user past the tail that was read.
func (j *job) want() Want { return Want{User: j.user, Tail: j.tail, ReadAt: j.readAt, RaiseOnly: true} }

// insertRows inserts the entries of a chunk, and holes for the gaps below them.
func (t *tails) insertRows(ctx context.Context, chunk []stretch) {
	var jobs []*job
	var rows []store.Entry
	for _, s := range chunk {
		jobs = append(jobs, s.rows...)
	}
	if len(jobs) == 0 {
		return
	}
	for _, j := range jobs {
		j.entry.Position = j.position
		rows = append(rows, *j.entry)
	}
	missing, err := t.missing(ctx, chunk)
	var written []bool
	if err == nil {
		written, err = t.insert(ctx, append(rows, missing...))
	}
	for i, j := range jobs {
		if j.err = err; err == nil {
			j.written = written[i]
		}
		j.finish()
	}
}

// missing returns holes for the gaps shortly below the tails after which entries are placed.
func (t *tails) missing(ctx context.Context, chunk []stretch) ([]store.Entry, error) {
	found := make([][]store.Entry, len(chunk))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(windowReads)
	for i, s := range chunk {
		if len(s.rows) == 0 || s.tail.Removed >= s.tail.Position {
			continue
		}
		reads.Go(func() (err error) {
			found[i], err = t.missingBelow(ctx, s.lane.user, s.tail)
			return err
		})
	}
	err := reads.Wait()
	return slices.Concat(found...), err
}

// missingBelow checks the last positions up to one tail, and further down while it finds nothing: a reported tail may be too high.
func (t *tails) missingBelow(ctx context.Context, user string, tail store.Tail) (holes []store.Entry, err error) {
	var entries []store.Entry
	var after int64
	for window := int64(tailWindow); len(entries) == 0; window *= 16 {
		after = max(tail.Removed, tail.Position-window)
		if entries, err = t.cfg.Store.Entries(ctx, user, after, tail.Position); err != nil {
			return nil, err
		}
		if after == tail.Removed || window >= maxGap {
			break
		}
	}
	if after < tail.Position-tailWindow && len(entries) > 0 {
		after = entries[len(entries)-1].Position // what is below is further down than is checked
		entries = nil
	}
	after = max(after, tail.Position-maxFill)
	for _, e := range append(entries, store.Entry{Position: tail.Position + 1}) {
		for after++; after < e.Position; after++ {
			holes = append(holes, t.cfg.hole(user, after))
		}
	}
	return holes, nil
}
