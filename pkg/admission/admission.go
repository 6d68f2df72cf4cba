// Package admission shares what is bounded between users and networks, so that nobody is shut out by others: neither by one user, nor by many
// accounts of one network.
package admission

import "net/netip"

// Holder is on whose account something is held.
type Holder struct {
	// User is the user's name; for a request without a token, the client's address (see Address).
	User    string
	Network Network
}

// Network is the part of an address that one customer of a provider, or one organisation, usually has to itself. The zero value is the
// network of whatever has no address.
type Network = netip.Prefix

const (
	networkBits4 = 24
	networkBits6 = 48
	addressBits6 = 64
)

// NetworkOf returns the network of an address: /24 for IPv4, /48 for IPv6.
func NetworkOf(address netip.Addr) Network {
	bits := networkBits6
	if address = address.Unmap().WithZone(""); address.Is4() {
		bits = networkBits4
	}
	prefix, _ := address.Prefix(bits) // in range
	return prefix
}

// PrefixOf returns what stands for one client: the address itself for IPv4, its /64 for IPv6, of which a host can choose the rest at will.
// It is invalid if the address is.
func PrefixOf(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := addressBits6
	if address.Is4() {
		bits = address.BitLen()
	}
	prefix, _ := address.Prefix(bits) // in range
	return prefix
}

// Address returns PrefixOf as a name, for IPv4 without its length: it stands for a client that has no other.
func Address(address netip.Addr) string {
	prefix := PrefixOf(address)
	switch {
	case !prefix.IsValid():
		return ""
	case prefix.Addr().Is4():
		return prefix.Addr().String()
	}
	return prefix.String()
}
