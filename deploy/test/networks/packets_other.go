//go:build !linux

package networks

import "errors"

// Isolate does nothing where there are no network namespaces.
func Isolate(Tools) (status int, done bool, err error) { return 0, false, nil }

// Isolated reports whether this process is in a namespace that Isolate has made.
func Isolated() bool { return false }

// BestLink is the best kind of link that this machine can make.
func BestLink() string { return RelayLink }

// openLoopback does nothing: there is no namespace.
func openLoopback() error { return nil }

func openPackets(string, int, Shape) (Link, error) {
	return nil, errors.New("there are no network namespaces on this system")
}
