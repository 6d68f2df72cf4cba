package api

import (
	"encoding/json"
	"time"
)

// Time is a time in JSON: RFC 3339, UTC, milliseconds.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z"

// At makes a Time of t, in UTC and truncated to milliseconds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// MarshalJSON writes the time with exactly three decimals.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format(timeLayout))
}

// UnmarshalJSON reads any RFC 3339 time.
func (t *Time) UnmarshalJSON(b []byte) error {
	return t.Time.UnmarshalJSON(b)
}

// RegisterRequest opens an account.
type RegisterRequest struct {
	Username  string `json:"username"`
	Password  string `json:"password"`
	PublicKey string `json:"publicKey"`
}

// LoginRequest opens a session.
type LoginRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// SessionResponse returns a token, after registration, login and password change.
type SessionResponse struct {
	Message   string `json:"message"`
	Token     string `json:"token"`
	Username  string `json:"username,omitempty"`
	ExpiresAt Time   `json:"expiresAt"`
}

// ProfileResponse is the caller's account.
type ProfileResponse struct {
	Username   string `json:"username"`
	PublicKey  string `json:"publicKey"`
	KeyVersion int    `json:"keyVersion"`
	CreatedAt  Time   `json:"createdAt"`
	LastLogin  Time   `json:"lastLogin"`
}

// VerifyRequest asks whether a token is valid.
type VerifyRequest struct {
	Token string `json:"token"`
}

// VerifyResponse says whether a token is valid, and whose it is.
type VerifyResponse struct {
	Valid     bool   `json:"valid"`
	Username  string `json:"username,omitempty"`
	ExpiresAt *Time  `json:"expiresAt,omitempty"`
}

// PasswordRequest changes the caller's password.
type PasswordRequest struct {
	CurrentPassword string `json:"currentPassword"`
	NewPassword     string `json:"newPassword"`
}

// MessageResponse is an answer with only a sentence for a person.
type MessageResponse struct {
	Message string `json:"message"`
}

// JWKS is a JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWK is one Ed25519 public key.
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	X         string `json:"x"`
}

// ServerKeyResponse is the deployment's public key.
type ServerKeyResponse struct {
	PublicKey string `json:"publicKey"`
}

// UserKeyResponse is a user's current public key. Fingerprint is the hex SHA-256 of its SPKI DER.
type UserKeyResponse struct {
	Username    string `json:"username"`
	PublicKey   string `json:"publicKey"`
	Version     int    `json:"version"`
	Fingerprint string `json:"fingerprint"`
	UpdatedAt   Time   `json:"updatedAt"`
}

// KeyVersion is one key a user has or had.
type KeyVersion struct {
	Version     int    `json:"version"`
	PublicKey   string `json:"publicKey"`
	Fingerprint string `json:"fingerprint"`
	CreatedAt   Time   `json:"createdAt"`
}

// KeyHistoryResponse is a page of the keys of a user, oldest first; the first page ends with the current key. Next is the value of before for
// the next page, of older keys, nil on the last.
type KeyHistoryResponse struct {
	Username string       `json:"username"`
	Versions []KeyVersion `json:"versions"`
	Next     *int         `json:"next"`
}

// DirectoryUser is one user in a page of the directory.
type DirectoryUser struct {
	Username  string `json:"username"`
	PublicKey string `json:"publicKey"`
	Version   int    `json:"version"`
}

// DirectoryResponse is a page of the directory. Next is the value of after for the next page, nil on the last.
type DirectoryResponse struct {
	Users []DirectoryUser `json:"users"`
	Next  *string         `json:"next"`
}

// UpdateKeyRequest rotates the caller's key.
type UpdateKeyRequest struct {
	PublicKey string `json:"publicKey"`
	// CurrentPassword is the account's password. An account that has sent it once needs it from then on.
	CurrentPassword string `json:"currentPassword,omitempty"`
}

// UpdateKeyResponse gives the version of the key that is now current.
type UpdateKeyResponse struct {
	Message string `json:"message"`
	Version int    `json:"version"`
}

// SendRequest sends a sealed message.
type SendRequest struct {
	EncryptedContent     string      `json:"encryptedContent"`
	IV                   string      `json:"iv"`
	RecipientKeys        WrappedKeys `json:"recipientKeys"`
	RecipientKeyVersions KeyVersions `json:"recipientKeyVersions,omitempty"`
	ClientMessageID      string      `json:"clientMessageId,omitempty"`
	ExpiresIn            *int64      `json:"expiresIn,omitempty"`
}

// SendResponse acknowledges a message: it is now durable for every recipient.
type SendResponse struct {
	Message   string `json:"message"`
	MessageID string `json:"messageId"`
	Timestamp Time   `json:"timestamp"`
	Duplicate bool   `json:"duplicate,omitempty"`
}

// Message is a message as one reader sees it: RecipientKeys and RecipientKeyVersions hold that reader's entry only.
type Message struct {
	ObjectID             string            `json:"_id"`
	MessageID            string            `json:"messageId"`
	Seq                  int64             `json:"seq"`
	Sender               string            `json:"sender"`
	EncryptedContent     string            `json:"encryptedContent"`
	IV                   string            `json:"iv"`
	RecipientKeys        map[string]string `json:"recipientKeys"`
	RecipientKeyVersions map[string]int    `json:"recipientKeyVersions,omitempty"`
	Recipients           []string          `json:"recipients"`
	Timestamp            Time              `json:"timestamp"`
	IsUnread             bool              `json:"isUnread"`
	ClientMessageID      string            `json:"clientMessageId,omitempty"`
	SenderKeyVersion     int               `json:"senderKeyVersion,omitempty"`
	// ReadBy is present, even if empty, for the message's sender and absent for everybody else.
	ReadBy *[]Receipt `json:"readBy,omitempty"`
}

// Receipt says who read a message, and when first.
type Receipt struct {
	Username string `json:"username"`
	ReadAt   Time   `json:"readAt"`
}

// HistoryResponse is a page of what the caller sent or received, newest first.
type HistoryResponse struct {
	Messages      []Message `json:"messages"`
	TotalPages    int64     `json:"totalPages"`
	CurrentPage   int64     `json:"currentPage"`
	TotalMessages int64     `json:"totalMessages"`
	// Approximate is true when TotalMessages was computed from positions and may count some that are empty.
	Approximate bool `json:"approximate"`
	// Before is the position to pass as before for the next older page, nil if nothing older can exist.
	Before *int64 `json:"before"`
}

// The types of a poll's answer.
const (
	PollMessages = "messages"
	PollMessage  = "message"
	PollTimeout  = "timeout"
	PollReset    = "reset"
)

// PollResponse answers a poll. Which fields are present depends on Type.
type PollResponse struct {
	Type     string    `json:"type"`
	Messages []Message `json:"messages,omitempty"`
	Data     *Message  `json:"data,omitempty"`
	// Skipped lists the positions up to Cursor that hold nothing for the reader.
	Skipped []int64 `json:"skipped,omitempty"`
	Cursor  string  `json:"cursor,omitempty"`
}

// StatusResponse describes the deployment.
type StatusResponse struct {
	Status string      `json:"status"`
	Stats  StatusStats `json:"stats"`
}

// StatusStats sums over all live nodes.
type StatusStats struct {
	ActiveConnections int64        `json:"activeConnections"`
	Capacity          Capacity     `json:"capacity"`
	Nodes             []NodeStatus `json:"nodes"`
	MemoryUsage       MemoryUsage  `json:"memoryUsage"`
	// Uptime of the node that has been up longest, in seconds.
	Uptime float64 `json:"uptime"`
}

// Capacity says how many parked polls fit and how many there are.
type Capacity struct {
	Max     int64   `json:"max"`
	Used    int64   `json:"used"`
	Percent float64 `json:"percent"`
}

// NodeStatus describes one process of the deployment.
type NodeStatus struct {
	ID                string      `json:"id"`
	Service           string      `json:"service"`
	ActiveConnections int64       `json:"activeConnections"`
	Capacity          int64       `json:"capacity"`
	MemoryUsage       MemoryUsage `json:"memoryUsage"`
	Uptime            float64     `json:"uptime"`
}

// MemoryUsage is in bytes; RSS is 0 where the system does not report it.
type MemoryUsage struct {
	RSS       int64 `json:"rss"`
	HeapTotal int64 `json:"heapTotal"`
	HeapUsed  int64 `json:"heapUsed"`
}

// Healthy is the status of a HealthResponse, as monitors of earlier servers of this contract expect it.
const Healthy = "healthy"

// HealthResponse says that a process answers. Uptime is in seconds.
type HealthResponse struct {
	Status      string      `json:"status"`
	Connections int64       `json:"connections"`
	Memory      MemoryUsage `json:"memory"`
	Uptime      float64     `json:"uptime"`
}
