package gateway

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/revocation"
)

// parkedState is the state of a Parked poll that may resume.
type parkedState string

const (
	// waiting for an outcome.
	waiting parkedState = "waiting"
	// completed: its Observer has the outcome; Resume or Leave follows.
	completed parkedState = "completed"
	// withdrawn: its client has gone; Leave follows.
	withdrawn parkedState = "withdrawn"
)

func (r *rig) head() int64 {
	head, err := r.shelf.Head(r.t.Context(), "bob", 0)
	require.NoError(r.t, err)
	return head
}

func (p *Parked) state() parkedState {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	switch {
	case p.index != notListed:
		return waiting
	case p.between:
		return completed
	}
	return withdrawn
}

// parkedEvents are what may happen to a Parked poll, at any moment and in any order.
var parkedEvents = map[string]func(r *rig, p *Parked){
	"a message arrives":          func(r *rig, _ *Parked) { r.send() },
	"the time is up":             func(_ *rig, p *Parked) { p.Expire() },
	"the client goes":            func(_ *rig, p *Parked) { p.Withdraw() },
	"the node drains":            func(r *rig, _ *Parked) { require.NoError(r.t, r.Drain(r.t.Context(), 0)) },
	"others need its place":      func(_ *rig, p *Parked) { p.Displaced() },
	"it resumes at the head":     func(r *rig, p *Parked) { p.Resume(r.head(), time.Minute) },
	"it resumes behind the head": func(r *rig, p *Parked) { p.Resume(r.head()-1, time.Minute) },
	"the login ends":             func(r *rig, _ *Parked) { r.Revoked(revocation.Record{Subject: "bob", TokenID: "t"}) },
}

// parkedTable is the life of a Parked poll: in each state, the events that have an effect, what the Observer gets, and the state after. What
// is not in it changes nothing: the first outcome is the only one.
var parkedTable = map[parkedState]map[string]struct {
	outcome string
	then    parkedState
}{
	waiting: {
		"a message arrives":     {"messages", completed},
		"the time is up":        {"timeout", completed},
		"the client goes":       {"", withdrawn},
		"the node drains":       {"timeout, go elsewhere", completed},
		"the login ends":        {"revoked", completed},
		"others need its place": {"no room", completed},
	},
	completed: {
		"it resumes at the head":     {"", waiting},
		"it resumes behind the head": {"messages", completed},
	},
	withdrawn: {},
}

func (o result) String() string {
	switch {
	case errors.Is(o.err, ErrRevoked):
		return "revoked"
	case errors.Is(o.err, ErrAtCapacity):
		return "no room"
	case o.err != nil:
		return o.err.Error()
	case o.Close:
		return "timeout, go elsewhere"
	case len(o.Objects) > 0:
		return "messages"
	}
	return "timeout"
}

func TestTheTableOfAParkedPollIsWhatItDoes(t *testing.T) {
	for in, row := range parkedTable {
		for event, happen := range parkedEvents {
			if in != completed && (event == "it resumes at the head" || event == "it resumes behind the head") {
				continue // Resume is called only for a poll that is completed
			}
			t.Run(fmt.Sprintf("%s, %s", in, event), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRig(t)
					r.send()
					p, told := r.resuming(1)
					switch in {
					case completed:
						p.Expire()
						told.one(t)
					case withdrawn:
						p.Withdraw()
					}
					require.Equal(t, in, p.state())
					want, effective := row[event]
					if !effective {
						want.then = in
					}
					happen(r, p)
					synctest.Wait()
					require.Equal(t, want.then, p.state())
					if want.outcome == "" {
						require.Empty(t, told)
					} else {
						require.Equal(t, want.outcome, told.one(t).String())
					}
					p.Withdraw()
					p.Leave()
					require.Zero(t, r.Open())
				})
			})
		}
	}
}
