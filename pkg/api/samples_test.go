package api_test

import (
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	examplePEM         = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
	exampleFingerprint = "80601f56ff13697525597335d7b5da9b072b52ebb6d1ec8b985860a1be5f89c9"
	exampleID          = "6733a0c41f2e9b7d5c8a4e10"
	exampleToken       = "aa.bb.cc"
)

// sample is a value of a contract type and the schema that must accept it.
type sample struct {
	schema string
	value  any
}

// samples holds each type of types.go, with every field set and, if fields may be absent, also without them.
func samples() []sample {
	at := api.At(time.Date(2025, 1, 2, 3, 4, 5, 600_000_000, time.FixedZone("", 3600)))
	memory := api.MemoryUsage{RSS: 3, HeapTotal: 2, HeapUsed: 1}
	node := api.NodeStatus{ID: "n", Service: "s", ActiveConnections: 1, Capacity: 2, MemoryUsage: memory, Uptime: 1.5}
	key := api.KeyVersion{Version: 1, PublicKey: examplePEM, Fingerprint: exampleFingerprint, CreatedAt: at}
	user := api.DirectoryUser{Username: "Ann", PublicKey: examplePEM, Version: 1}
	bare := api.Message{
		ObjectID: exampleID, MessageID: exampleID, Seq: 1, Sender: "Ann", EncryptedContent: "c", IV: "i",
		RecipientKeys: map[string]string{}, Recipients: []string{"Bob"}, Timestamp: at,
	}
	full := bare
	full.RecipientKeys, full.RecipientKeyVersions = map[string]string{"Bob": "k"}, map[string]int{"Bob": 1}
	full.IsUnread, full.ClientMessageID, full.SenderKeyVersion = true, "c", 2
	full.ReadBy = &[]api.Receipt{{Username: "Bob", ReadAt: at}}
	return []sample{
		{"RegisterRequest", api.RegisterRequest{Username: "Ann", Password: "password", PublicKey: examplePEM}},
		{"LoginRequest", api.LoginRequest{Username: "Ann", Password: "password"}},
		{"SessionResponse", api.SessionResponse{Message: "m", Token: exampleToken, Username: "Ann", ExpiresAt: at}},
		{"NewTokenResponse", api.SessionResponse{Message: "m", Token: exampleToken, ExpiresAt: at}},
		{"ProfileResponse", api.ProfileResponse{Username: "Ann", PublicKey: examplePEM, KeyVersion: 1, CreatedAt: at, LastLogin: at}},
		{"VerifyRequest", api.VerifyRequest{Token: exampleToken}},
		{"ValidToken", api.VerifyResponse{Valid: true, Username: "Ann", ExpiresAt: &at}},
		{"UselessToken", api.VerifyResponse{}},
		{"PasswordRequest", api.PasswordRequest{CurrentPassword: "password", NewPassword: "password"}},
		{"MessageResponse", api.MessageResponse{Message: "m"}},
		{"JWKS", api.JWKS{Keys: []api.JWK{exampleJWK()}}},
		{"JWK", exampleJWK()},
		{"ServerKeyResponse", api.ServerKeyResponse{PublicKey: examplePEM}},
		{"UserKeyResponse", api.UserKeyResponse{Username: "Ann", PublicKey: examplePEM, Version: 1, Fingerprint: exampleFingerprint, UpdatedAt: at}},
		{"KeyVersion", key},
		{"KeyHistoryResponse", api.KeyHistoryResponse{Username: "Ann", Versions: []api.KeyVersion{key}, Next: new(7)}},
		{"KeyHistoryResponse", api.KeyHistoryResponse{Username: "Ann", Versions: []api.KeyVersion{}}},
		{"DirectoryUser", user},
		{"DirectoryResponse", api.DirectoryResponse{Users: []api.DirectoryUser{user}, Next: new("Ann")}},
		{"DirectoryResponse", api.DirectoryResponse{Users: []api.DirectoryUser{}}},
		{"UpdateKeyRequest", api.UpdateKeyRequest{PublicKey: examplePEM}},
		{"UpdateKeyResponse", api.UpdateKeyResponse{Message: "m", Version: 2}},
		{"SendRequest", api.SendRequest{
			EncryptedContent: "c", IV: "i", RecipientKeys: map[string]string{"Bob": "k"}, RecipientKeyVersions: map[string]int{"Bob": 1},
			ClientMessageID: "c", ExpiresIn: new(int64(60)),
		}},
		{"SendRequest", api.SendRequest{EncryptedContent: "c", IV: "i", RecipientKeys: map[string]string{"Bob": "k"}}},
		{"SendResponse", api.SendResponse{Message: "m", MessageID: exampleID, Timestamp: at}},
		{"DuplicateSendResponse", api.SendResponse{Message: "m", MessageID: exampleID, Timestamp: at, Duplicate: true}},
		{"Message", full},
		{"Message", bare},
		{"Receipt", api.Receipt{Username: "Bob", ReadAt: at}},
		{"HistoryResponse", api.HistoryResponse{
			Messages: []api.Message{full, bare}, TotalPages: 2, CurrentPage: 1, TotalMessages: 3, Approximate: true, Before: new(int64(1)),
		}},
		{"HistoryResponse", api.HistoryResponse{Messages: []api.Message{}, CurrentPage: 1}},
		{"PollMessages", api.PollResponse{Type: api.PollMessages, Messages: []api.Message{full}, Skipped: []int64{1}, Cursor: "a.2"}},
		{"PollMessage", api.PollResponse{Type: api.PollMessage, Data: &full, Cursor: "a.2"}},
		{"PollTimeout", api.PollResponse{Type: api.PollTimeout, Skipped: []int64{1}, Cursor: "a.1"}},
		{"PollTimeout", api.PollResponse{Type: api.PollTimeout}},
		{"PollReset", api.PollResponse{Type: api.PollReset, Cursor: "a.0"}},
		{"StatusResponse", api.StatusResponse{Status: "online", Stats: api.StatusStats{Nodes: []api.NodeStatus{node}}}},
		{"StatusStats", api.StatusStats{
			ActiveConnections: 1, Capacity: api.Capacity{Max: 2, Used: 1, Percent: 50}, Nodes: []api.NodeStatus{node}, MemoryUsage: memory, Uptime: 2.5,
		}},
		{"Capacity", api.Capacity{Max: 3, Used: 1, Percent: 33.3}},
		{"NodeStatus", node},
		{"MemoryUsage", memory},
		{"HealthResponse", api.HealthResponse{Status: api.Healthy, Connections: 1, Memory: memory, Uptime: 0.5}},
	}
}

func exampleJWK() api.JWK {
	return api.JWK{KeyType: "OKP", Curve: "Ed25519", KeyID: "k", Algorithm: "EdDSA", Use: "sig", X: strings.Repeat("A", 43)}
}
