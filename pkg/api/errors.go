package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Code names a kind of failure for a program. Codes are stable: clients switch on them.
type Code string

// The codes of the contract.
const (
	CodeInvalidJSON          Code = "invalid_json"
	CodeMissingField         Code = "missing_field"
	CodeInvalidField         Code = "invalid_field"
	CodeUnknownRecipients    Code = "unknown_recipients"
	CodeWeakPassword         Code = "weak_password"
	CodeInvalidPublicKey     Code = "invalid_public_key"
	CodeNoToken              Code = "no_token"
	CodeInvalidToken         Code = "invalid_token"
	CodeTokenExpired         Code = "token_expired"
	CodeTokenRevoked         Code = "token_revoked"
	CodeInvalidCredentials   Code = "invalid_credentials"
	CodePasswordRequired     Code = "password_required"
	CodeNotFound             Code = "not_found"
	CodeUserNotFound         Code = "user_not_found"
	CodeMessageNotFound      Code = "message_not_found"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeUsernameTaken        Code = "username_taken"
	CodeIdempotencyMismatch  Code = "idempotency_mismatch"
	CodeStaleKeys            Code = "stale_keys"
	CodeRequestTimeout       Code = "request_timeout"
	CodeBodyTooLarge         Code = "body_too_large"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeRateLimited          Code = "rate_limited"
	CodeInternal             Code = "internal"
	CodeUnavailable          Code = "unavailable"
	CodeAtCapacity           Code = "at_capacity"
	CodeDraining             Code = "draining"
)

// Error is an answer that says what went wrong, in JSON and as a Go error.
type Error struct {
	// Status is the HTTP status. It is not part of the body.
	Status int `json:"-"`
	// Message is for a person.
	Message string `json:"message"`
	// Code is for a program.
	Code Code `json:"code"`
	// RequestID finds the request in the logs.
	RequestID string `json:"requestId"`
	// Field names the invalid part of the request; set on every 400 that has one.
	Field string `json:"field,omitempty"`
	// UnknownRecipients lists the unregistered names, with CodeUnknownRecipients.
	UnknownRecipients []string `json:"unknownRecipients,omitempty"`
	// Stale gives the current key version of each user whose key was rotated, with CodeStaleKeys.
	Stale map[string]int `json:"stale,omitempty"`
	// RetryAfter is when to try again; it is sent in the Retry-After header, in whole seconds.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (%s, status %d)", e.Message, e.Code, e.Status)
}

// Is reports whether target is an *Error with the same code, so that errors.Is works with the values made here.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// MissingField is the answer to a request without a required field.
func MissingField(field string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMissingField, Field: field, Message: field + " is required"}
}

// InvalidField is the answer to a field with an unusable value; reason completes the sentence "<field> ...".
func InvalidField(field, reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeInvalidField, Field: field, Message: field + " " + reason}
}

// InvalidJSON is the answer to a body that is not the JSON object that the route expects.
func InvalidJSON(reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeInvalidJSON, Message: "the request body " + reason}
}

// New makes an error answer from its three parts.
func New(status int, code Code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

// Unavailable is the answer when a dependency of the request is unavailable; what names it for a person.
func Unavailable(what string, retryAfter time.Duration) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: CodeUnavailable,
		Message: what + " is not available at the moment", RetryAfter: retryAfter,
	}
}

// ParseError decodes an error answer. A body that is not one (a proxy's page, say) becomes an Error of that status with an empty
// code.
func ParseError(status int, body []byte) *Error {
	var e Error
	if err := json.Unmarshal(body, &e); err != nil || e.Message == "" {
		e = Error{Message: http.StatusText(status)}
	}
	e.Status = status
	return &e
}
