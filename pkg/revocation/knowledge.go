package revocation

import (
	"container/heap"
	"time"

	"github.com/sealpost/sealpost/pkg/token"
)

// meaningful reports whether the record is of one of the two kinds.
func (r Record) meaningful() bool {
	return r.Subject != "" && (r.TokenID != "") != (r.MinGeneration > 0)
}

// knowledge is the sum of the records that have not expired.
type knowledge struct {
	// tokens holds, by jti, when each refused token expires of itself.
	tokens map[string]time.Time
	// accounts holds the account-wide refusals by canonical username.
	accounts map[string]refusal
	// expiries orders what may be forgotten. One account can stand in it several times.
	expiries expiries
}

type refusal struct {
	minGeneration int64
	expiresAt     time.Time
}

func newKnowledge() knowledge {
	return knowledge{tokens: map[string]time.Time{}, accounts: map[string]refusal{}}
}

func (k *knowledge) refuses(id token.Identity) bool {
	if _, refused := k.tokens[id.TokenID]; refused {
		return true
	}
	return id.Generation < k.accounts[id.Subject].minGeneration
}

// add takes a record in and reports whether it refuses anything that was not refused before.
func (k *knowledge) add(r Record, now time.Time) (news bool) {
	switch {
	case !r.meaningful() || !r.ExpiresAt.After(now):
		return false
	case r.TokenID != "":
		return k.addToken(r)
	}
	return k.addAccount(r)
}

func (k *knowledge) addToken(r Record) (news bool) {
	if _, there := k.tokens[r.TokenID]; there {
		return false
	}
	k.tokens[r.TokenID] = r.ExpiresAt
	heap.Push(&k.expiries, expiry{at: r.ExpiresAt, tokenID: r.TokenID})
	return true
}

func (k *knowledge) addAccount(r Record) (news bool) {
	a := k.accounts[r.Subject]
	news = r.MinGeneration > a.minGeneration
	a.minGeneration = max(a.minGeneration, r.MinGeneration)
	if r.ExpiresAt.After(a.expiresAt) {
		a.expiresAt = r.ExpiresAt
		heap.Push(&k.expiries, expiry{at: r.ExpiresAt, subject: r.Subject})
	}
	k.accounts[r.Subject] = a
	return news
}

// trim forgets what has expired. Its cost is that of what it forgets.
func (k *knowledge) trim(now time.Time) {
	for len(k.expiries) > 0 && !k.expiries[0].at.After(now) {
		e := heap.Pop(&k.expiries).(expiry)
		if e.tokenID != "" {
			delete(k.tokens, e.tokenID)
		} else if !k.accounts[e.subject].expiresAt.After(now) { // a later record may have made it longer
			delete(k.accounts, e.subject)
		}
	}
}

// expiry is when a token's or an account's refusal may be forgotten.
type expiry struct {
	at               time.Time
	tokenID, subject string
}

// expiries is a heap, the earliest first.
type expiries []expiry

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }

// Push implements heap.Interface.
func (e *expiries) Push(x any) { *e = append(*e, x.(expiry)) }

// Pop implements heap.Interface.
func (e *expiries) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = expiry{}
	*e = old[:len(old)-1]
	return last
}
