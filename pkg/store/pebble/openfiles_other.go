//go:build !unix

package pebble

func openFiles() int { return leastOpenFiles }
