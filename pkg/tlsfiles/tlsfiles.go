// Package tlsfiles makes TLS connections to servers with certificates from files. It reads the files for each connection, so that
// renewed ones are used without a restart.
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
	// CA holds the authorities trusted to issue the servers' certificates; the system's by default.
	CA string
	// Cert and Key are this client's certificate and its private key; they may be in one file.
	Cert, Key string
}

// Files are the files' contents; empty without names.
type Files struct {
	roots *livefile.Value[*x509.CertPool]
	pair  *livefile.Value[tls.Certificate]
}

// Open reads the files. Later faults are reported to r, and the previous contents stay in use.
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

// Roots returns the current authorities; nil for the system's.
func (f *Files) Roots() *x509.CertPool {
	if f.roots == nil {
		return nil
	}
	return f.roots.Get()
}

// Certificate returns this client's current certificate; an empty one if it has none.
func (f *Files) Certificate() tls.Certificate {
	if f.pair == nil {
		return tls.Certificate{}
	}
	return f.pair.Get()
}

// Config returns base with the current contents of the files, for one connection.
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

// Dialer makes TLS connections. It is for drivers that would use one configuration for all connections.
type Dialer struct {
	Files *Files
	// Base is completed with the files. If it has no ServerName, the server's certificate must be for the dialled host.
	Base *tls.Config
	Net  net.Dialer
}

// DialContext connects, and returns after the handshake.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := tls.Dialer{NetDialer: &d.Net, Config: d.Files.Config(d.Base)}
	return dialer.DialContext(ctx, network, address)
}
