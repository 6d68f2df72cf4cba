// Package httpserver is the HTTP layer that all services share: listeners, middleware, error answers, token checks, the admin port.
// The services define what routes do.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/internal/openfiles"
	"github.com/sealpost/sealpost/pkg/metrics"
)

// Config is the operator's configuration.
type Config struct {
	AdminAddress   string        `env:"ADMIN_ADDRESS" envDefault:"127.0.0.1:9301" desc:"host:port of /livez, /readyz, /metrics and /debug/pprof; never expose it"`
	CORSOrigins    []string      `env:"CORS_ORIGINS" desc:"comma-separated origins whose pages may call the API; * for all; none by default"`
	TrustedProxies []string      `env:"TRUSTED_PROXIES" desc:"comma-separated addresses or CIDRs whose X-Forwarded-For is believed; none by default"`
	TrustTrace     bool          `env:"TRUST_TRACEPARENT" envDefault:"false" desc:"go on with the trace that a request's traceparent header names, and sample as it says; only where a proxy removes it from what strangers send. Otherwise it is linked to"`
	LameDuck       time.Duration `env:"LAME_DUCK" envDefault:"0s" desc:"how long to go on serving after readiness turns to 503, so that load balancers notice; 5s to 15s behind one"`
	MaxHeaderBytes int           `env:"MAX_HEADER_BYTES" envDefault:"16384" desc:"largest request head, in bytes"`
	MaxConnections int64         `env:"MAX_CONNECTIONS" envDefault:"10000" desc:"connections of clients on a node, at most half the limit of open files, beside those of trusted proxies and of parked polls; above it the oldest of the address with most are closed. 0 for no bound"`
	IdleTimeout    time.Duration `env:"IDLE_TIMEOUT" envDefault:"90s" desc:"how long an idle keep-alive connection is kept; longer than the load balancer keeps its own"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	if c.LameDuck < 0 {
		faults = append(faults, errors.New("LAME_DUCK must not be negative"))
	}
	if c.IdleTimeout <= 0 {
		faults = append(faults, errors.New("IDLE_TIMEOUT must be positive"))
	}
	if c.MaxHeaderBytes < 4096 {
		faults = append(faults, errors.New("MAX_HEADER_BYTES must be at least 4096"))
	}
	if c.MaxConnections < 0 {
		faults = append(faults, errors.New("MAX_CONNECTIONS must not be negative"))
	}
	_, err := prefixes(c.TrustedProxies)
	faults = append(faults, err)
	return errors.Join(faults...)
}

// Check tests whether something that start-up waits for is ready.
type Check struct {
	Name  string
	Ready func(ctx context.Context) error
}

// Options are what a service passes in.
type Options struct {
	// Address is the public host:port; port 0 takes a free one.
	Address  string
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Bounds makes what requests share; nil measures nothing.
	Bounds *admission.Metrics
	// Tracer makes spans of requests; nil turns tracing off.
	Tracer trace.Tracer
	// Checks are run by /readyz, unless Admin is set.
	Checks []Check
	// Admin is the admin port, if it serves already; if nil, New makes one.
	Admin *Admin
	// Connections returns how many polls and streams are open, for /api/health. Nil means none.
	Connections func() int64
	// Keeper, unless nil, takes over connections from the public port and gives them back.
	Keeper ConnKeeper
}

// ConnKeeper takes connections over, with http.Hijacker, and gives them back.
type ConnKeeper interface {
	// ConnContext is used as http.Server.ConnContext.
	ConnContext(ctx context.Context, c net.Conn) context.Context
	// Returned is where connections come back. It is served like the public port.
	Returned() net.Listener
}

// Server is a public and an admin port.
type Server struct {
	cfg     Config
	opts    Options
	engine  *gin.Engine
	public  *http.Server
	publicL net.Listener
	admin   *Admin
	started time.Time
	// leaving: connections end with their next answer.
	leaving atomic.Bool
	metrics *httpMetrics
	// expected creates the metrics of all routes, once they are registered.
	expected sync.Once
}

// New binds both listeners; Serve answers on them.
func New(ctx context.Context, cfg Config, opts Options) (*Server, error) {
	s := &Server{cfg: cfg, opts: opts, started: time.Now()}
	if opts.Connections == nil {
		s.opts.Connections = func() int64 { return 0 }
	}
	if err := s.buildEngine(); err != nil {
		return nil, err
	}
	s.public = &http.Server{
		Handler: headAsGet(boundBody(s.withCORS(s.oneAddress(s.expecting(s.engine))))), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: cfg.IdleTimeout,
		MaxHeaderBytes: cfg.MaxHeaderBytes, ErrorLog: slog.NewLogLogger(opts.Log.Handler(), slog.LevelDebug),
	}
	if cfg.MaxConnections > 0 {
		trusted, err := prefixes(cfg.TrustedProxies)
		if err != nil {
			return nil, err
		}
		counted := connections{pool: opts.Bounds.Pool("connections", connectionBound(mostConnections(cfg))), trusted: trusted}
		s.public.ConnState = counted.changed
	}
	if opts.Keeper != nil {
		s.public.ConnContext = opts.Keeper.ConnContext
	}
	var err error
	if s.publicL, err = listen(ctx, opts.Address); err != nil {
		return nil, err
	}
	if s.admin = opts.Admin; s.admin == nil {
		if s.admin, err = NewAdmin(ctx, cfg, opts.Registry, opts.Checks); err != nil {
			return nil, errors.Join(err, s.publicL.Close())
		}
	}
	return s, nil
}

// mostConnections leaves half of the open files to parked polls and to engines.
func mostConnections(cfg Config) int64 {
	most := cfg.MaxConnections
	if files := openfiles.Limit(); files > 1 {
		most = min(most, files/2)
	}
	return most
}

func (s *Server) buildEngine() error {
	gin.SetMode(gin.ReleaseMode)
	s.engine = gin.New()
	s.engine.HandleMethodNotAllowed = true
	s.engine.RedirectTrailingSlash = false
	s.engine.RemoteIPHeaders = []string{forwardedFor}
	if err := s.engine.SetTrustedProxies(s.cfg.TrustedProxies); err != nil {
		return fmt.Errorf("TRUSTED_PROXIES: %w", err)
	}
	s.metrics = newMetrics(s.opts.Registry, s.opts.Log)
	s.metrics.tracer = s.opts.Tracer
	s.engine.Use(s.metrics.begin)
	if s.opts.Tracer != nil {
		s.engine.Use((&tracer{s.opts.Tracer, s.cfg.TrustTrace}).span)
	}
	s.engine.Use(s.closeLeaving, s.metrics.observe, recoverPanic, securityHeaders(s.metrics.standing.headers), boundWrite)
	s.engine.NoRoute(func(c *gin.Context) {
		writeError(c, api.New(http.StatusNotFound, api.CodeNotFound, "there is nothing at this path"))
	})
	s.engine.NoMethod(func(c *gin.Context) {
		allowHead(c.Writer.Header())
		writeError(c, api.New(http.StatusMethodNotAllowed, api.CodeMethodNotAllowed, "this path does not take this method"))
	})
	s.engine.GET("/api/health", s.health)
	s.engine.GET("/api/openapi.yaml", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/yaml; charset=utf-8", api.OpenAPI)
	})
	return nil
}

func (s *Server) withCORS(h http.Handler) http.Handler {
	if len(s.cfg.CORSOrigins) == 0 {
		return h
	}
	return cors.New(cors.Options{
		AllowedOrigins: s.cfg.CORSOrigins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		// Libraries add headers of their own, such as Cache-Control or X-Requested-With. No header has power here but Authorization, which a
		// page has to set itself.
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{requestIDHeader, "Retry-After", "RateLimit"},
		MaxAge:         int((10 * time.Minute).Seconds()),
	}).Handler(h)
}

func (s *Server) closeLeaving(c *gin.Context) {
	if s.leaving.Load() {
		c.Header("Connection", "close")
	}
}

// Routes is where services add their routes. Bodies are limited to DefaultBodyBytes unless a route sets another limit.
func (s *Server) Routes() gin.IRouter { return s.engine }

// Handler answers like the public port.
func (s *Server) Handler() http.Handler { return s.public.Handler }

// AdminHandler answers like the admin port.
func (s *Server) AdminHandler() http.Handler { return s.admin.server.Handler }

// Address is the public port's address.
func (s *Server) Address() string { return s.publicL.Addr().String() }

// AdminAddress is the admin port's address.
func (s *Server) AdminAddress() string { return s.admin.Address() }

// Serve answers on both ports until Shutdown, or until one of them fails.
func (s *Server) Serve() error {
	s.expected.Do(s.expect)
	failed := make(chan error, 3)
	go func() { failed <- s.admin.Serve() }()
	if s.opts.Keeper != nil {
		go func() { failed <- s.public.Serve(s.opts.Keeper.Returned()) }()
	}
	go func() { failed <- s.public.Serve(s.publicL) }()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) expect() { s.metrics.expect(s.engine.Routes()) }

// expecting reads the routes before the first request: with it, h changes how it stores them.
func (s *Server) expecting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.expected.Do(s.expect)
		h.ServeHTTP(w, r)
	})
}

// Drain makes the server unready and keeps serving for the lame-duck time, so that load balancers remove it. After that, every
// answer closes its connection.
func (s *Server) Drain(ctx context.Context) error {
	s.admin.draining.Store(true)
	defer s.leaving.Store(true)
	select {
	case <-time.After(s.cfg.LameDuck):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown stops accepting, waits for the requests under way, and closes both ports. When ctx ends, it cuts what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.public.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.public.Close())
	}
	return errors.Join(err, s.admin.Close())
}

func (s *Server) health(c *gin.Context) {
	c.JSON(http.StatusOK, api.HealthResponse{
		Status: api.Healthy, Connections: s.opts.Connections(), Memory: metrics.Memory(), Uptime: time.Since(s.started).Seconds(),
	})
}
