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

// Address returns what stands for one client without a name: the address itself for IPv4, its /64 for IPv6, of which a host can choose the
// rest at will.
func Address(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	switch {
	case !address.IsValid():
		return ""
	case address.Is4():
		return address.String()
	}
	prefix, _ := address.Prefix(addressBits6) // 64 is in range
	return prefix.String()
}
