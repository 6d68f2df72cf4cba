package natsbus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/tlsfiles"
)

// Config is the operator's configuration.
type Config struct {
	URL         config.Secret `env:"NATS_URL,required" desc:"nats://host:port of one server or more, comma-separated; tls:// for TLS; may hold user:password@"`
	Credentials string        `env:"NATS_CREDENTIALS_FILE" desc:"file with a JWT and its seed, as nsc writes it; read again at each connect"`
	CA          string        `env:"NATS_CA_FILE" desc:"PEM file of the authorities that the servers' certificates may come from; the system's by default; read again at each connect"`
	Cert        string        `env:"NATS_CERT_FILE" desc:"PEM file of the certificate to show to the servers; none by default; read again at each connect"`
	Key         string        `env:"NATS_KEY_FILE" desc:"PEM file of that certificate's private key"`

	// URLFile is read again at each connect, for the user name and the password.
	URLFile config.SecretFile `env:"NATS_URL_FILE"`
}

// Validate implements config.Validator.
func (c Config) Validate() error {
	_, _, err := c.Connection(nil)
	return err
}

// Connection returns the address to connect to, and the options. files, which may be nil, is notified when files change.
func (c Config) Connection(files *livefile.Reporter) (address string, list []nats.Option, err error) {
	address = c.URL.Reveal()
	if c.Credentials != "" {
		list = append(list, nats.UserCredentials(c.Credentials))
	}
	held, err := tlsfiles.Open(files, tlsfiles.Names{CA: c.CA, Cert: c.Cert, Key: c.Key})
	if err != nil {
		return "", nil, fmt.Errorf("NATS_CA_FILE, NATS_CERT_FILE, NATS_KEY_FILE: %w", err)
	}
	if c.CA != "" {
		list = append(list, withRoots(held))
	}
	if c.Cert != "" {
		list = append(list, withCertificate(held))
	}
	if c.URLFile == "" {
		return address, list, nil
	}
	user, err := livefile.Open(files, userOf, string(c.URLFile))
	if err != nil {
		return "", nil, fmt.Errorf("NATS_URL_FILE: %w", err)
	}
	if user.Get() != nil {
		address = withoutUser(address)
		list = append(list, nats.UserInfoHandler(func() (name, password string) {
			u := user.Get()
			password, _ = u.Password()
			return u.Username(), password
		}))
	}
	return address, list, nil
}

// withRoots and withCertificate set separately what nats.ClientTLSConfig sets together: either may be missing.
func withRoots(held *tlsfiles.Files) nats.Option {
	return func(o *nats.Options) error {
		o.RootCAsCB, o.Secure = func() (*x509.CertPool, error) { return held.Roots(), nil }, true
		return nil
	}
}

func withCertificate(held *tlsfiles.Files) nats.Option {
	return func(o *nats.Options) error {
		o.TLSCertCB, o.Secure = func() (tls.Certificate, error) { return held.Certificate(), nil }, true
		return nil
	}
}

// userOf reads user name and password from the first address that has both; nil if none has.
func userOf(contents [][]byte) (*url.Userinfo, error) {
	for address := range strings.SplitSeq(strings.TrimRight(string(contents[0]), "\r\n"), ",") {
		u, err := parse(address)
		if err != nil {
			return nil, err
		}
		if _, both := u.User.Password(); both {
			return u.User, nil
		}
	}
	return nil, nil
}

// withoutUser removes user names and passwords from addresses: the client would prefer them to its callback. A name alone is a token, and
// stays.
func withoutUser(addresses string) string {
	list := strings.Split(addresses, ",")
	for i, address := range list {
		u, err := parse(address)
		if err != nil {
			continue // the client reports what is wrong with it
		}
		if _, both := u.User.Password(); both {
			u.User = nil
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}

func parse(address string) (*url.URL, error) {
	address = strings.TrimSpace(address)
	if !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the file holds no address") // the cause would reveal the password
	}
	return u, nil
}
