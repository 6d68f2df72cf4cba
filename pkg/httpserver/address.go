package httpserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sealpost/sealpost/pkg/admission"
)

// forwardedFor is the only header that names a client's address. Others, such as X-Real-IP, pass through proxies that set
// X-Forwarded-For, so a client could choose its own address with them.
const forwardedFor = "X-Forwarded-For"

// oneAddress brings X-Forwarded-For into the form that gin reads: one line, without ports. A proxy may add a line of its own below the
// client's; gin would take the first alone. What is no address stays, and gin then takes the peer's.
func (s *Server) oneAddress(next http.Handler) http.Handler {
	if len(s.cfg.TrustedProxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines := r.Header[forwardedFor]; len(lines) > 0 {
			entries := strings.Split(strings.Join(lines, ","), ",")
			for i, entry := range entries {
				entries[i] = withoutPort(strings.TrimSpace(entry))
			}
			r.Header[forwardedFor] = []string{strings.Join(entries, ", ")}
		}
		next.ServeHTTP(w, r)
	})
}

// Network returns the prefix that a client's address is counted as: an IPv6 subscriber has at least a /64, and so 2^64 addresses. Whatever is
// no address counts as one.
func Network(address string) string {
	ip, _ := netip.ParseAddr(address) // an error leaves no address
	return admission.Address(ip)
}

// prefixes parses TRUSTED_PROXIES: addresses and CIDRs.
func prefixes(texts []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	var faults []error
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			var address netip.Addr
			if address, err = netip.ParseAddr(text); err == nil {
				prefix = netip.PrefixFrom(address, address.BitLen())
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("TRUSTED_PROXIES: %q is neither an address nor a CIDR", text))
			continue
		}
		parsed = append(parsed, prefix)
	}
	return parsed, errors.Join(faults...)
}

// withoutPort removes the port and the brackets of an address: some proxies write 192.0.2.1:4711, [2001:db8::1]:4711 or [2001:db8::1].
func withoutPort(entry string) string {
	if both, err := netip.ParseAddrPort(entry); err == nil {
		return both.Addr().String()
	}
	if inner, bracketed := strings.CutPrefix(entry, "["); bracketed {
		return strings.TrimSuffix(inner, "]")
	}
	return entry
}
