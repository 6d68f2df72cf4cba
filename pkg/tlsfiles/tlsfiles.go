// Package tlsfiles makes TLS connections to servers with certificates from files, which are read again for each
// connection: what is renewed on the disk is used without a restart.
package tlsfiles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/sealpost/sealpost/pkg/livefile"
)

// Names are the paths of PEM files. All may be empty.
type Names struct {
	// CA holds the authorities that the servers' certificates may come from; the system's by default.
	CA string
	// Cert and Key are the certificate that this client shows and its private key; they may be one file.
	Cert, Key string
}

// Files are what the files hold. Files that were opened without names hold nothing.
type Files struct {
	roots *livefile.Value[*x509.CertPool]
	pair  *livefile.Value[tls.Certificate]
}

// Open reads the files. What is wrong with them later is told to r, and what they held before stays in use.
func Open(r *livefile.Reporter, n Names) (*Files, error) {
	f := &Files{}
	var err error
	if n.CA != "" {
		if f.roots, err = livefile.Open(r, parseRoots, n.CA); err != nil {
			return nil, err
		}
	}
	switch {
	case n.Cert == "" && n.Key == "":
		return f, nil
	case n.Cert == "" || n.Key == "":
		return nil, errors.New("a certificate and its private key are required, or neither")
	}
	f.pair, err = livefile.Open(r, parsePair, n.Cert, n.Key)
	return f, err
}

func parseRoots(contents [][]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents[0]) {
		return nil, errors.New("the file holds no certificate")
	}
	return pool, nil
}

func parsePair(contents [][]byte) (tls.Certificate, error) {
	return tls.X509KeyPair(contents[0], contents[1])
}

// Roots returns the authorities as they are now; nil for the system's.
func (f *Files) Roots() *x509.CertPool {
	if f.roots == nil {
		return nil
	}
	return f.roots.Get()
}

// Certificate returns this client's certificate as it is now; an empty one if it has none.
func (f *Files) Certificate() tls.Certificate {
	if f.pair == nil {
		return tls.Certificate{}
	}
	return f.pair.Get()
}

// Config returns base with what the files hold now, for one connection.
func (f *Files) Config(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if f.roots != nil {
		c.RootCAs = f.Roots()
	}
	if f.pair != nil {
		c.Certificates = []tls.Certificate{f.Certificate()}
	}
	return c
}

// Dialer makes TLS connections. It is for drivers that would keep one configuration for all connections.
type Dialer struct {
	Files *Files
	// Base is what the files are put into. Without a ServerName in it, the host that is dialled has to be in the
	// server's certificate.
	Base *tls.Config
	Net  net.Dialer
}

// DialContext connects, and returns once hands are shaken.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := tls.Dialer{NetDialer: &d.Net, Config: d.Files.Config(d.Base)}
	return dialer.DialContext(ctx, network, address)
}
