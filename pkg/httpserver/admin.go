package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin is the admin port of a process: /livez, /readyz, /metrics and /debug/pprof. It can serve before anything else exists, to
// report what the process waits for.
type Admin struct {
	server   *http.Server
	listener net.Listener
	checks   []Check
	draining atomic.Bool
	serving  func() error
}

// NewAdmin binds the admin port; Serve answers on it.
func NewAdmin(ctx context.Context, cfg Config, reg *prometheus.Registry, checks []Check) (*Admin, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", cfg.AdminAddress)
	if err != nil {
		return nil, fmt.Errorf("admin port: %w", err)
	}
	a := &Admin{listener: l, checks: checks}
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_ready",
		Help: "1 while /readyz says so, 0 while the node waits for what it needs to start, or is about to stop.",
	}, a.readiness)
	a.server = &http.Server{Handler: a.handler(reg), ReadHeaderTimeout: 10 * time.Second}
	a.serving = sync.OnceValue(func() error { return a.server.Serve(l) })
	return a, nil
}

// Address is the address of the port.
func (a *Admin) Address() string { return a.listener.Addr().String() }

// Serve answers until Close. A further call waits for the first to end.
func (a *Admin) Serve() error { return a.serving() }

// Close ends Serve.
func (a *Admin) Close() error {
	err := a.server.Close()
	if closing := a.listener.Close(); !errors.Is(closing, net.ErrClosed) { // it was never served
		err = errors.Join(err, closing)
	}
	return err
}

func (a *Admin) handler(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: reg}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	if err := a.ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// readiness is readyz as a metric.
func (a *Admin) readiness() float64 {
	if a.ready(context.Background()) != nil {
		return 0
	}
	return 1
}

// errDraining means that the process is about to stop.
var errDraining = errors.New("draining")

// readyTimeout bounds the checks of what start-up waits for.
const readyTimeout = 2 * time.Second

func (a *Admin) ready(ctx context.Context) error {
	if a.draining.Load() {
		return errDraining
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, check := range a.checks {
		if err := check.Ready(ctx); err != nil {
			return fmt.Errorf("%s: %w", check.Name, err)
		}
	}
	return nil
}
