//go:build !unix

package load

// ownCPU is 0: it is not implemented for this system.
func ownCPU() float64 { return 0 }
