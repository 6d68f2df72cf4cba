package revocation

import (
	"container/heap"
	"time"

	"github.com/sealpost/sealpost/pkg/token"
)

// meaningful reports whether it is about one token or an account.
func (r Record) meaningful() bool {
	return r.Subject != "" && (r.TokenID != "") != (r.MinGeneration > 0)
}

// recordSet is all records that have not expired.
type recordSet struct {
	// tokens holds the refused tokens by jti.
	tokens map[string]refusedToken
	// accounts holds the account-wide refusals by canonical username.
	accounts map[string]refusal
	// expiries orders the records by expiry. An account may be in it several times.
	expiries expiries
}

type refusedToken struct {
	subject   string
	expiresAt time.Time
	// round is when the log last delivered or accepted the record: see Mirror.Run.
	round int
}

type refusal struct {
	minGeneration int64
	expiresAt     time.Time
	// round is when the log last delivered or accepted a record of this very generation.
	round int
}

func newKnowledge() recordSet {
	return recordSet{tokens: map[string]refusedToken{}, accounts: map[string]refusal{}}
}

func (k *recordSet) refuses(id token.Identity) bool {
	if _, refused := k.tokens[id.TokenID]; refused {
		return true
	}
	return id.Generation < k.accounts[id.Subject].minGeneration
}

// add adds a record that the log has delivered or accepted in a round, and reports whether it refuses anything new.
func (k *recordSet) add(r Record, round int, now time.Time) (added bool) {
	switch {
	case !r.meaningful() || !r.ExpiresAt.After(now):
		return false
	case r.TokenID != "":
		return k.addToken(r, round)
	}
	return k.addAccount(r, round)
}

func (k *recordSet) addToken(r Record, round int) (added bool) {
	_, there := k.tokens[r.TokenID]
	k.tokens[r.TokenID] = refusedToken{subject: r.Subject, expiresAt: r.ExpiresAt, round: round}
	if !there {
		heap.Push(&k.expiries, expiry{at: r.ExpiresAt, tokenID: r.TokenID})
	}
	return !there
}

func (k *recordSet) addAccount(r Record, round int) (added bool) {
	a := k.accounts[r.Subject]
	added = r.MinGeneration > a.minGeneration
	if r.MinGeneration >= a.minGeneration {
		a.minGeneration, a.round = r.MinGeneration, round
	}
	if r.ExpiresAt.After(a.expiresAt) {
		a.expiresAt = r.ExpiresAt
		heap.Push(&k.expiries, expiry{at: r.ExpiresAt, subject: r.Subject})
	}
	k.accounts[r.Subject] = a
	return added
}

// lose notes that the log has lost a record that it had accepted.
func (k *recordSet) lose(id identity) {
	if id.tokenID != "" {
		if t, there := k.tokens[id.tokenID]; there {
			t.round = 0
			k.tokens[id.tokenID] = t
		}
		return
	}
	if a := k.accounts[id.subject]; a.minGeneration == id.generation {
		a.round = 0
		k.accounts[id.subject] = a
	}
}

// missing lists up to limit records that the log has neither delivered nor accepted since a round began.
func (k *recordSet) missing(since, limit int) (list []Record) {
	for id, t := range k.tokens {
		if len(list) == limit {
			return list
		}
		if t.round < since {
			list = append(list, Record{TokenID: id, Subject: t.subject, ExpiresAt: t.expiresAt})
		}
	}
	for subject, a := range k.accounts {
		if len(list) == limit {
			return list
		}
		if a.round < since {
			list = append(list, Record{Subject: subject, MinGeneration: a.minGeneration, ExpiresAt: a.expiresAt})
		}
	}
	return list
}

// trim forgets expired records. It costs time only for these.
func (k *recordSet) trim(now time.Time) {
	for len(k.expiries) > 0 && !k.expiries[0].at.After(now) {
		e := heap.Pop(&k.expiries).(expiry)
		if e.tokenID != "" {
			delete(k.tokens, e.tokenID)
		} else if !k.accounts[e.subject].expiresAt.After(now) { // a later record may have extended it
			delete(k.accounts, e.subject)
		}
	}
}

// expiry is when the refusal of a token or an account may be forgotten.
type expiry struct {
	at               time.Time
	tokenID, subject string
}

// expiries is a heap, earliest first.
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
