// Package livefile reads files that change while they are in use: certificates, passwords, keys. It reports a file that cannot be
// read or parsed, and keeps the previous value.
package livefile

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Reporter reports changes of files. A nil Reporter does nothing.
type Reporter struct {
	log    *slog.Logger
	failed prometheus.Counter
}

// NewReporter makes a Reporter, one per process. reg may be nil.
func NewReporter(log *slog.Logger, reg prometheus.Registerer) *Reporter {
	return &Reporter{log, promauto.With(reg).NewCounter(prometheus.CounterOpts{
		Name: "sealpost_reload_failures_total",
		Help: "Times that files of keys, certificates or credentials were looked at and could not be used: what was read before stays in use.",
	})}
}

// Changed reports that what was read from where is now in use.
func (r *Reporter) Changed(where string) {
	if r != nil {
		r.log.Info("files reloaded", "from", where)
	}
}

// Failed reports that what was read from where cannot be used. It logs only if again is false, that is, if the fault is new. err
// must not reveal a secret.
func (r *Reporter) Failed(where string, err error, again bool) {
	if r == nil {
		return
	}
	r.failed.Inc()
	if !again {
		r.log.Error("changed files cannot be used: the earlier contents stay in use", "from", where, "error", err.Error())
	}
}

// Value is a T made from files, which every Get reads: they are small, and the connection that needs them costs more. The zero
// Value is not usable: see Open.
type Value[T any] struct {
	paths    []string
	parse    func(contents [][]byte) (T, error)
	reporter *Reporter

	mu    sync.Mutex
	value T
	// good is the checksum of what value was made from; last is that of the last read, so that a fault is reported only once.
	good, last [sha256.Size]byte
	// fault is the error of the last read.
	fault error
}

// Open reads files and makes a T of their contents, in the order of paths. An error of parse must not reveal a secret.
func Open[T any](r *Reporter, parse func(contents [][]byte) (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{paths: paths, parse: parse, reporter: r}
	contents, sum, err := v.read()
	if err != nil {
		return nil, err
	}
	if v.value, err = parse(contents); err != nil {
		return nil, v.wrap(err)
	}
	v.good, v.last = sum, sum
	return v, nil
}

// Get returns the value of the files' current contents, or the last valid value.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	contents, sum, err := v.read()
	if sum == v.last {
		if v.fault != nil {
			v.reporter.Failed(v.paths[0], v.fault, true)
		}
		return v.value
	}
	v.last, v.fault = sum, err
	if err == nil && sum != v.good {
		v.fault = v.take(contents, sum)
	}
	if v.fault != nil {
		v.reporter.Failed(v.paths[0], v.fault, false)
	}
	return v.value
}

// take replaces the value with one made from new contents, if they are valid.
func (v *Value[T]) take(contents [][]byte, sum [sha256.Size]byte) error {
	value, err := v.parse(contents)
	if err != nil {
		return v.wrap(err)
	}
	v.value, v.good = value, sum
	v.reporter.Changed(v.paths[0])
	return nil
}

func (v *Value[T]) wrap(err error) error { return fmt.Errorf("%s: %w", v.paths[0], err) }

// read returns the contents of the files and their checksum; after an error, the checksum of the error.
func (v *Value[T]) read() (contents [][]byte, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, path := range v.paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, sha256.Sum256([]byte(err.Error())), err
		}
		_, _ = fmt.Fprintf(h, "%d ", len(text)) // a hash accepts all writes
		_, _ = h.Write(text)
		contents = append(contents, text)
	}
	return contents, [sha256.Size]byte(h.Sum(nil)), nil
}
