//go:build !unix

package httpserver

func openFiles() int64 { return 0 }
