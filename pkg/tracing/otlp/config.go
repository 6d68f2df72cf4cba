package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/sealpost/sealpost/pkg/config"
)

// Config is the operator's configuration, with OpenTelemetry's standard names.
type Config struct {
	Endpoint       string        `env:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"where traces are sent, over OTLP/HTTP: http://collector:4318, to which /v1/traces is added; none, and nothing is traced"`
	TracesEndpoint string        `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" desc:"the same as a whole URL, path included; goes before the other"`
	Protocol       string        `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" desc:"http/protobuf; there is no other"`
	Headers        config.Secret `env:"OTEL_EXPORTER_OTLP_HEADERS" desc:"headers for the collector, such as a token: name=value,name=value, percent-encoded"`
	Timeout        int           `env:"OTEL_EXPORTER_OTLP_TIMEOUT" envDefault:"10000" desc:"bound on sending one batch, retries included, in milliseconds"`
	CA             string        `env:"OTEL_EXPORTER_OTLP_CERTIFICATE" desc:"PEM file of the authorities that the collector's certificate may be of; those of the system by default"`
	ClientCert     string        `env:"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" desc:"PEM file of the certificate that is shown to the collector"`
	ClientKey      string        `env:"OTEL_EXPORTER_OTLP_CLIENT_KEY" desc:"PEM file of its key"`
	Sampler        string        `env:"OTEL_TRACES_SAMPLER" envDefault:"parentbased_always_on" desc:"always_on, always_off, traceidratio, or one of them after parentbased_"`
	SamplerArg     float64       `env:"OTEL_TRACES_SAMPLER_ARG" envDefault:"1" desc:"part of the requests that traceidratio samples, from 0 to 1"`
	ServiceName    string        `env:"OTEL_SERVICE_NAME" desc:"service.name of the spans; the service's own by default"`
	Attributes     string        `env:"OTEL_RESOURCE_ATTRIBUTES" desc:"more of what all spans tell: name=value,name=value, percent-encoded"`
	Queue          int           `env:"OTEL_BSP_MAX_QUEUE_SIZE" envDefault:"2048" desc:"spans that may wait to be sent; what is more is dropped, and counted"`
	Delay          int           `env:"OTEL_BSP_SCHEDULE_DELAY" envDefault:"5000" desc:"how long spans are gathered for a batch, in milliseconds"`
	Disabled       bool          `env:"OTEL_SDK_DISABLED" envDefault:"false" desc:"true turns tracing off, whatever else is set"`
}

// On reports whether tracing is on.
func (c *Config) On() bool { return !c.Disabled && (c.Endpoint != "" || c.TracesEndpoint != "") }

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	check := func(name string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	check("OTEL_EXPORTER_OTLP_ENDPOINT", checkURL(c.Endpoint))
	check("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", checkURL(c.TracesEndpoint))
	if c.Protocol != "http/protobuf" {
		faults = append(faults, errors.New("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"))
	}
	if _, err := pairs(c.Headers.Reveal()); err != nil { // the cause would show the value
		faults = append(faults, errors.New("OTEL_EXPORTER_OTLP_HEADERS must be name=value,name=value"))
	}
	_, err := pairs(c.Attributes)
	check("OTEL_RESOURCE_ATTRIBUTES", err)
	if c.Timeout <= 0 || c.Delay <= 0 {
		faults = append(faults, errors.New("OTEL_EXPORTER_OTLP_TIMEOUT and OTEL_BSP_SCHEDULE_DELAY must be positive"))
	}
	if c.Queue < 1 || c.Queue > 1<<20 {
		faults = append(faults, errors.New("OTEL_BSP_MAX_QUEUE_SIZE must be from 1 to 1048576"))
	}
	_, err = c.sampler()
	check("OTEL_TRACES_SAMPLER", err)
	if c.SamplerArg < 0 || c.SamplerArg > 1 {
		faults = append(faults, errors.New("OTEL_TRACES_SAMPLER_ARG must be from 0 to 1"))
	}
	_, err = c.tls()
	return errors.Join(append(faults, err)...)
}

func checkURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("must be a URL with http or https") // the cause would show a password
	}
	return nil
}

// url is where spans are posted.
func (c *Config) url() (string, error) {
	if c.TracesEndpoint != "" {
		return c.TracesEndpoint, nil
	}
	return url.JoinPath(c.Endpoint, "v1", "traces")
}

func (c *Config) sampler() (sdk.Sampler, error) {
	name, parentBased := strings.CutPrefix(c.Sampler, "parentbased_")
	var s sdk.Sampler
	switch name {
	case "always_on":
		s = sdk.AlwaysSample()
	case "always_off":
		s = sdk.NeverSample()
	case "traceidratio":
		s = sdk.TraceIDRatioBased(c.SamplerArg)
	default:
		return nil, fmt.Errorf("%q is none of always_on, always_off, traceidratio, and these after parentbased_", c.Sampler)
	}
	if parentBased {
		return sdk.ParentBased(s), nil
	}
	return s, nil
}

func (c *Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate", c.CA)
		}
	}
	if c.ClientCert != "" || c.ClientKey != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// pairs parses name=value,name=value.
func pairs(text string) (map[string]string, error) {
	all := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, found := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || name == "" || err != nil {
			return nil, errors.New("must be name=value,name=value")
		}
		all[name] = value
	}
	return all, nil
}

// resource is the attributes of this process's spans.
func (c *Config) resource(o Options) []attribute.KeyValue {
	own := map[string]string{
		"service.namespace": "sealpost", "service.name": o.Service, "service.version": o.Version, "service.instance.id": o.Instance,
	}
	more, _ := pairs(c.Attributes) // Validate has checked them
	for name, value := range more {
		own[name] = value
	}
	if c.ServiceName != "" {
		own["service.name"] = c.ServiceName
	}
	var list []attribute.KeyValue
	for name, value := range own {
		list = append(list, attribute.String(name, value))
	}
	return list
}

func (c *Config) timeout() time.Duration { return time.Duration(c.Timeout) * time.Millisecond }
