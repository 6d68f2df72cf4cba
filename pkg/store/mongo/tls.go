package mongo

import (
	"fmt"
	"net/url"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/tlsfiles"
)

// rereadTLSFiles makes each new connection read the TLS files that the URI names; the driver itself reads them only once. An encrypted
// private key is left to the driver.
func rereadTLSFiles(o *options.ClientOptions, uri string, files *livefile.Reporter) error {
	named := tlsOptions(uri)
	names := tlsfiles.Names{CA: named("tlscafile", "sslcertificateauthorityfile"), Cert: named("tlscertificatefile"), Key: named("tlsprivatekeyfile")}
	if both := named("tlscertificatekeyfile", "sslclientcertificatekeyfile"); both != "" {
		names.Cert, names.Key = both, both
	}
	if o.TLSConfig == nil || names == (tlsfiles.Names{}) || named("tlscertificatekeyfilepassword", "sslclientcertificatekeypassword") != "" {
		return nil
	}
	held, err := tlsfiles.Open(files, names)
	if err != nil {
		return fmt.Errorf("TLS files of the MongoDB URI: %w", err)
	}
	o.SetDialer(&tlsfiles.Dialer{Files: held, Base: o.TLSConfig})
	o.TLSConfig = nil // the dialer's connections have completed the handshake
	return nil
}

// tlsOptions returns a function that looks up an option of a URI by any of its names, in lower case.
func tlsOptions(uri string) func(names ...string) string {
	_, query, _ := strings.Cut(uri, "?")
	values, _ := url.ParseQuery(query) // the driver reports errors in it
	return func(names ...string) string {
		for key, value := range values {
			for _, name := range names {
				if strings.ToLower(key) == name {
					return value[0]
				}
			}
		}
		return ""
	}
}
