package admission_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
)

// attack is what each of many attackers does with a Pool, against one honest user.
type attack struct {
	attackers int
	// perNetwork is how many attackers share a network.
	perNetwork int
	// at is how many requests an attacker has under way at once; each wants so much, and makes so much progress a second.
	at       int
	wants    int64
	progress int64
	pool     admission.Config
	// honest is what a request of the honest user wants.
	honest int64
}

// attacks have the numbers of faults that were found on a running server.
var attacks = map[string]attack{
	"eight accounts withhold the ends of large bodies": {
		attackers: 8, perNetwork: 1, at: 40, wants: 15 << 20, honest: 3 << 10,
		pool: admission.Config{Size: 256 << 20, UserMost: 32 << 20, Reserve: 32 << 20, Small: 1 << 20, LeastRate: 16 << 10},
	},
	"a hundred accounts send large bodies slowly": {
		attackers: 100, perNetwork: 1, at: 1, wants: 15 << 20, progress: 1 << 10, honest: 3 << 10,
		pool: admission.Config{Size: 256 << 20, UserMost: 32 << 20, Reserve: 32 << 20, Small: 1 << 20, LeastRate: 16 << 10},
	},
	"157 accounts hold all polls":                        {attackers: 157, perNetwork: 1, at: 64, wants: 1, honest: 1, pool: admission.Config{Size: 10_000}},
	"as many accounts of one network as there are polls": {attackers: 400, perNetwork: 400, at: 1, wants: 1, honest: 1, pool: admission.Config{Size: 200}},
	"64 readers leave their pages unread": {
		attackers: 64, perNetwork: 1, at: 8, wants: 1, honest: 1, pool: admission.Config{Size: 64, UserMost: 8, LeastRate: 16 << 10},
	},
	"readers take their pages byte by byte": {
		attackers: 150, perNetwork: 3, at: 2, wants: 1, progress: 10, honest: 1, pool: admission.Config{Size: 64, UserMost: 8, LeastRate: 16 << 10},
	},
}

// displacement ends a request.
type displacement chan struct{}

func (d displacement) Displaced() { close(d) }

// TestOneHonestUserIsServedWhateverOthersDo: whoever owns the accounts, an honest user's requests find room, at once.
func TestOneHonestUserIsServedWhateverOthersDo(t *testing.T) {
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := admission.New(a.pool)
				over := make(chan struct{})
				var attackers sync.WaitGroup
				for n := range a.attackers {
					who := from(fmt.Sprint("eve", n), 1+n/a.perNetwork)
					for range a.at {
						attackers.Go(func() { a.attack(p, who, over) })
					}
				}
				<-time.After(time.Second)
				const requests = 200
				served := 0
				for range requests {
					<-time.After(30 * time.Millisecond)
					served += a.ask(p, from("honest", 0))
				}
				close(over)
				attackers.Wait()
				require.GreaterOrEqual(t, served, requests*99/100)
				require.Zero(t, p.Held())
			})
		})
	}
}

// attack makes one request after the other, as large and as slow as may be.
func (a attack) attack(p *admission.Pool, who admission.Holder, over chan struct{}) {
	for {
		if h := p.Take(who, a.wants); h != nil {
			lost := make(displacement)
			h.Loosen(lost)
			for held := true; held; {
				select {
				case <-time.After(time.Second):
					h.Progress(a.progress)
				case <-lost:
					held = false
				case <-over:
					held = false
				}
			}
			h.Release()
		}
		select {
		case <-over:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ask makes an honest request, which waits for its client for a moment, and works for a moment. It returns how many were served.
func (a attack) ask(p *admission.Pool, who admission.Holder) int {
	h := p.Take(who, a.honest)
	if h == nil {
		return 0
	}
	defer h.Release()
	lost := make(displacement)
	h.Loosen(lost)
	select {
	case <-time.After(10 * time.Millisecond):
	case <-lost:
		return 0
	}
	h.Progress(1 << 10)
	if !h.Fix() {
		return 0
	}
	<-time.After(5 * time.Millisecond)
	return 1
}
