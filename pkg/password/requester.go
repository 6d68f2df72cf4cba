package password

import (
	"context"
	"net/netip"

	"github.com/sealpost/sealpost/pkg/admission"
)

// Lane is what a password is hashed for. Each lane has a share of the workers and of the places to wait, whatever the others ask for.
type Lane int

const (
	// Known is for clients that have shown who they are: they have a token, or log in to an account from an address from which that account
	// has logged in before. Calls without a Requester are in it.
	Known Lane = iota
	// Logins are all others.
	Logins
	// Registrations open accounts.
	Registrations

	lanes = iota
)

// String returns the lane's label in metrics.
func (l Lane) String() string { return [lanes]string{"known", "logins", "registrations"}[l] }

// weights are the lanes' shares of the workers and of the places, while all of them are wanted.
var weights = [lanes]float64{Known: 3, Logins: 2, Registrations: 1}

// Requester is on whose behalf a password is hashed. The zero value is the requester of calls that name none.
type Requester struct {
	Lane Lane
	// Address is the client's; invalid if it is not known.
	Address netip.Addr
}

// party are those who count as one: the clients of an address (IPv6: a /64), or of a network. The zero value is whoever has no address.
type party = netip.Prefix

func (r Requester) parties() (network, address party) {
	return admission.NetworkOf(r.Address), admission.PrefixOf(r.Address)
}

// Behalf is a Hasher that works on behalf of a Requester.
type Behalf struct {
	hasher    *Hasher
	requester Requester
}

// For returns the Hasher on behalf of a requester.
func (h *Hasher) For(r Requester) Behalf { return Behalf{h, r} }

// Hash is Hasher.Hash.
func (b Behalf) Hash(ctx context.Context, password string) (encoded string, err error) {
	return b.hasher.hash(ctx, b.requester, password)
}

// Verify is Hasher.Verify.
func (b Behalf) Verify(ctx context.Context, password, encoded string) (match, outdated bool, err error) {
	return b.hasher.verify(ctx, b.requester, password, encoded)
}

// VerifyDummy is Hasher.VerifyDummy.
func (b Behalf) VerifyDummy(ctx context.Context, password string) error {
	return b.hasher.verifyDummy(ctx, b.requester, password)
}
