package accounts

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/store"
)

// Metrics of a Service.
type Metrics struct {
	logins, registrations, passwordChanges *prometheus.CounterVec
	logouts                                *prometheus.CounterVec
	strengthened                           prometheus.Counter
}

// NewMetrics registers the metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	const outcomes = " success, invalid_credentials, too_many_guesses, username_taken, invalid_request, at_capacity, canceled, or failed."
	m := &Metrics{
		logins: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_auth_logins_total", Help: "Logins, by outcome:" + outcomes,
		}, []string{"outcome"}),
		registrations: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_auth_registrations_total", Help: "Registrations, by outcome:" + outcomes,
		}, []string{"outcome"}),
		passwordChanges: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_auth_password_changes_total", Help: "Password changes, by outcome:" + outcomes,
		}, []string{"outcome"}),
		logouts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_auth_logouts_total", Help: "Logouts of one token or of all, by outcome.",
		}, []string{"kind", "outcome"}),
		strengthened: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_auth_password_hashes_strengthened_total",
			Help: "Stored hashes that a login replaced, because hashes cost more now or they were not of the normalized password.",
		}),
	}
	// Create the series at the start, so that the first event is seen as an increase.
	for _, outcome := range []string{
		"success", "invalid_credentials", "too_many_guesses", "username_taken", "invalid_request", "at_capacity", "canceled", "failed",
	} {
		for _, v := range []*prometheus.CounterVec{m.logins, m.registrations, m.passwordChanges} {
			v.WithLabelValues(outcome)
		}
	}
	for _, outcome := range []string{"success", "canceled", "failed"} {
		m.logouts.WithLabelValues("one", outcome)
		m.logouts.WithLabelValues("all", outcome)
	}
	return m
}

func (m *Metrics) loggedIn(err error)            { m.logins.WithLabelValues(outcome(err)).Inc() }
func (m *Metrics) registered(err error)          { m.registrations.WithLabelValues(outcome(err)).Inc() }
func (m *Metrics) passwordChanged(err error)     { m.passwordChanges.WithLabelValues(outcome(err)).Inc() }
func (m *Metrics) logout(kind string, err error) { m.logouts.WithLabelValues(kind, outcome(err)).Inc() }

func outcome(err error) string {
	var request *api.Error
	switch {
	case err == nil:
		return "success"
	case errors.Is(err, ErrInvalidCredentials):
		return "invalid_credentials"
	case errors.Is(err, ErrTooManyGuesses):
		return "too_many_guesses"
	case errors.Is(err, store.ErrUsernameTaken):
		return "username_taken"
	case errors.As(err, &request), errors.Is(err, publickey.ErrInvalid):
		return "invalid_request"
	case errors.Is(err, password.ErrAtCapacity):
		return "at_capacity"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "failed"
}
