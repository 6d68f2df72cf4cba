package envelope_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// vectors were made with the Web Crypto API, by an implementation that shares no code with this one.
type vectors struct {
	Users map[string]struct{ PublicKey, PrivateKey, Fingerprint string }

	Messages []struct {
		Plaintext string
		Send      struct {
			EncryptedContent, IV string
			RecipientKeys        map[string]string
		}
	}
}

func readVectors(t *testing.T) vectors {
	text, err := os.ReadFile("testdata/envelope-webcrypto.json")
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(text, &v))
	require.NotEmpty(t, v.Messages)
	return v
}

func TestEveryMessageThatABrowserSealedOpensForEachRecipient(t *testing.T) {
	v := readVectors(t)
	for _, m := range v.Messages {
		require.NotEmpty(t, m.Send.RecipientKeys)
		for name, wrapped := range m.Send.RecipientKeys {
			key, err := envelope.ParsePrivateKey(v.Users[name].PrivateKey)
			require.NoError(t, err)
			plaintext, err := envelope.Open(m.Send.EncryptedContent, m.Send.IV, wrapped, key)
			require.NoError(t, err)
			require.Equal(t, m.Plaintext, string(plaintext))
		}
	}
}

func TestKeysAndFingerprintsAreTheBrowsers(t *testing.T) {
	for name, u := range readVectors(t).Users {
		public, err := envelope.ParsePublicKey(u.PublicKey)
		require.NoError(t, err)
		private, err := envelope.ParsePrivateKey(u.PrivateKey)
		require.NoError(t, err)
		require.True(t, private.PublicKey.Equal(public), name)
		fingerprint, err := envelope.Fingerprint(public)
		require.NoError(t, err)
		require.Equal(t, u.Fingerprint, fingerprint)
	}
}

var testKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := envelope.GenerateKey(2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func TestWhatIsSealedOpensForItsRecipientsAlone(t *testing.T) {
	bob, eve := testKeys()[0], testKeys()[1]
	s, err := envelope.Seal([]byte("hello"), map[string]*rsa.PublicKey{"bob": &bob.PublicKey})
	require.NoError(t, err)
	plaintext, err := envelope.Open(s.Content, s.IV, s.Keys["bob"], eve, bob)
	require.NoError(t, err)
	require.Equal(t, "hello", string(plaintext))
	_, err = envelope.Open(s.Content, s.IV, s.Keys["bob"], eve)
	require.ErrorIs(t, err, envelope.ErrCannotOpen)
}

func TestTwoSealsOfOneTextHaveNothingInCommon(t *testing.T) {
	to := map[string]*rsa.PublicKey{"bob": &testKeys()[0].PublicKey}
	a, err := envelope.Seal([]byte("hello"), to)
	require.NoError(t, err)
	b, err := envelope.Seal([]byte("hello"), to)
	require.NoError(t, err)
	require.NotEqual(t, a.IV, b.IV)
	require.NotEqual(t, a.Content, b.Content)
	require.NotEqual(t, a.Keys["bob"], b.Keys["bob"])
}

func TestAChangedEnvelopeIsRefused(t *testing.T) {
	bob := testKeys()[0]
	s, err := envelope.Seal([]byte("hello"), map[string]*rsa.PublicKey{"bob": &bob.PublicKey})
	require.NoError(t, err)
	flip := func(text string, i int) string {
		other := "0"
		if text[i] == '0' {
			other = "1"
		}
		return text[:i] + other + text[i+1:]
	}
	for name, e := range map[string][3]string{
		"ciphertext":    {flip(s.Content, 0), s.IV, s.Keys["bob"]},
		"tag":           {flip(s.Content, len(s.Content)-1), s.IV, s.Keys["bob"]},
		"truncated":     {s.Content[:len(s.Content)-2], s.IV, s.Keys["bob"]},
		"empty":         {"", s.IV, s.Keys["bob"]},
		"not hex":       {"zz" + s.Content[2:], s.IV, s.Keys["bob"]},
		"iv":            {s.Content, flip(s.IV, 3), s.Keys["bob"]},
		"short iv":      {s.Content, s.IV[2:], s.Keys["bob"]},
		"wrapped key":   {s.Content, s.IV, flip(s.Keys["bob"], 5)},
		"no key at all": {s.Content, s.IV, ""},
	} {
		_, err := envelope.Open(e[0], e[1], e[2], bob)
		require.ErrorIs(t, err, envelope.ErrCannotOpen, name)
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	for _, text := range []string{"", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		_, err := envelope.ParsePublicKey(text)
		require.ErrorIs(t, err, envelope.ErrNotAKey)
		_, err = envelope.ParsePrivateKey(text)
		require.ErrorIs(t, err, envelope.ErrNotAKey)
	}
}

func TestTheSafetyNumberIsTheSameForBothAndChangesWithAKey(t *testing.T) {
	a, b := &testKeys()[0].PublicKey, &testKeys()[1].PublicKey
	one, err := envelope.SafetyNumber("Alice", a, "bob", b)
	require.NoError(t, err)
	two, err := envelope.SafetyNumber("BOB", b, "alice", a)
	require.NoError(t, err)
	require.Equal(t, one, two)
	require.Regexp(t, `^(\d{5} ){11}\d{5}$`, one)
	other, err := envelope.SafetyNumber("alice", a, "bob", a)
	require.NoError(t, err)
	require.NotEqual(t, one, other)
}

// openInNode opens envelopes with the Web Crypto API of Node.js.
const openInNode = `
const { webcrypto } = require('crypto');
const hex = (s) => Uint8Array.from(Buffer.from(s, 'hex'));
(async () => {
  const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const der = Buffer.from(input.privateKey.replace(/-----[^-]+-----/g, ''), 'base64');
  const rsa = await webcrypto.subtle.importKey('pkcs8', der, { name: 'RSA-OAEP', hash: 'SHA-256' }, false, ['decrypt']);
  const raw = await webcrypto.subtle.decrypt({ name: 'RSA-OAEP' }, rsa, Buffer.from(input.wrapped, 'base64'));
  const key = await webcrypto.subtle.importKey('raw', hex(Buffer.from(raw).toString('utf8')), 'AES-GCM', false, ['decrypt']);
  const text = await webcrypto.subtle.decrypt({ name: 'AES-GCM', iv: hex(input.iv) }, key, hex(input.content));
  process.stdout.write(Buffer.from(text));
})().catch((e) => { console.error(e); process.exit(1); });
`

func TestABrowserOpensWhatIsSealedHere(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("node is not installed")
	}
	require.NoError(t, err)
	bob := testKeys()[0]
	private, err := envelope.EncodePrivateKey(bob)
	require.NoError(t, err)
	for _, plaintext := range []string{"hello", "", "grüße, 世界 👋", strings.Repeat("long ", 10_000)} {
		s, err := envelope.Seal([]byte(plaintext), map[string]*rsa.PublicKey{"bob": &bob.PublicKey})
		require.NoError(t, err)
		input, err := json.Marshal(map[string]string{"privateKey": private, "wrapped": s.Keys["bob"], "iv": s.IV, "content": s.Content})
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), node, "-e", openInNode)
		cmd.Stdin = bytes.NewReader(input)
		var out, fault bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &fault
		require.NoError(t, cmd.Run(), fault.String())
		require.Equal(t, plaintext, out.String())
	}
}
