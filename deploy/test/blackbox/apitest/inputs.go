package apitest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
)

// badRequest is a request that must be refused, and how.
type badRequest struct {
	name   string
	call   call
	status int
	code   api.Code
	// field is the one that a 400 names; empty for none.
	field string
}

// leastBadInputs keeps the table from shrinking unnoticed.
const leastBadInputs = 900

// badInput sends every bad request of the table, one after another, and requires that each is refused as the contract says and changes
// nothing.
func badInput(t *testing.T, d *deployment) {
	users := d.newUsers(t, "Ann", "Bob", "Eve")
	ann, bob, eve := users[0], users[1], users[2]
	_, sent := bob.sends(t, bob)
	bob.receives(t, 1)
	w := &world{d: d, ann: ann, bob: bob, eve: eve, hidden: sent.MessageID}
	before, total := w.state(t), 0
	for _, subject := range []struct {
		name string
		rows []badRequest
	}{
		{"bodies", w.bodies()}, {"fields", w.fields()}, {"usernames", w.usernames()}, {"public keys", w.publicKeys(t)}, {"sends", w.sends()},
		{"parameters", w.parameters()}, {"message ids", w.messageIDs()}, {"tokens", w.tokens()}, {"paths", w.paths()}, {"methods", w.methods()},
		{"content types", w.contentTypes()},
	} {
		total += len(subject.rows)
		t.Run(subject.name, func(t *testing.T) {
			for _, row := range subject.rows {
				t.Run(row.name, func(t *testing.T) {
					fault := d.must(t, row.call).refused(t, row.status, row.code)
					require.Equal(t, row.field, fault.Field)
				})
			}
			require.Equal(t, before, w.state(t), "one of the requests changed something")
		})
	}
	require.GreaterOrEqual(t, total, leastBadInputs)
}

// world is the setting of the bad requests: Ann makes them, mostly about Bob's data.
type world struct {
	d             *deployment
	ann, bob, eve *user
	// hidden is a message that only Bob may see.
	hidden string
}

// state describes the deployment's state, as far as it can be seen.
func (w *world) state(t *testing.T) string {
	t.Helper()
	if w.d.Snapshot != nil {
		digest, err := w.d.Snapshot()
		require.NoError(t, err)
		return digest
	}
	var b strings.Builder
	for _, u := range []*user{w.ann, w.bob, w.eve} {
		for _, path := range []string{"/api/auth/profile", "/api/messages/history", "/api/keys/user/" + u.name + "/history"} {
			b.Write(u.get(t, path).body)
		}
	}
	b.Write(w.ann.get(t, "/api/keys/users").body)
	return b.String()
}

// bodyRoutes are the routes that take a body, each with a valid one, field by field in JSON.
func (w *world) bodyRoutes() []bodyRoute {
	key := w.d.keys[3].pem
	return []bodyRoute{
		{"/api/auth/register", false, [][2]string{{"username", quoted("Nemo_" + w.d.run)}, {"password", `"correct horse"`}, {"publicKey", quoted(key)}}},
		{"/api/auth/login", false, [][2]string{{"username", quoted(w.ann.name)}, {"password", `"correct horse"`}}},
		{"/api/auth/verify", false, [][2]string{{"token", quoted(w.ann.token)}}},
		{"/api/auth/password", true, [][2]string{{"currentPassword", quoted(w.ann.password)}, {"newPassword", `"another horse"`}}},
		{"/api/users/update-key", true, [][2]string{{"publicKey", quoted(key)}}},
		{"/api/messages/send", true, [][2]string{{"encryptedContent", `"c"`}, {"iv", `"i"`}, {"recipientKeys", `{` + quoted(w.bob.name) + `:"k"}`}}},
	}
}

type bodyRoute struct {
	path   string
	token  bool
	fields [][2]string
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// body is the valid body with one field replaced; an empty value omits it.
func (r bodyRoute) body(field, value string) []byte {
	parts := make([]string, 0, len(r.fields)+1)
	replaced := false
	for _, f := range r.fields {
		if f[0] == field {
			f[1], replaced = value, true
		}
		if f[1] != "" {
			parts = append(parts, `"`+f[0]+`":`+f[1])
		}
	}
	if !replaced && field != "" {
		parts = append(parts, `"`+field+`":`+value)
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func (w *world) post(r bodyRoute, body []byte) call {
	c := call{path: r.path, body: body}
	if r.token {
		c.token = w.ann.token
	}
	return c
}

// bodies are bodies that are not JSON objects, on each route.
func (w *world) bodies() []badRequest {
	var rows []badRequest
	for _, r := range w.bodyRoutes() {
		good := string(r.body("", ""))
		for name, body := range map[string]string{
			"nothing": "", "space": " \n", "null": "null", "a list": "[" + good + "]", "a text": quoted("x"), "a number": "5", "true": "true",
			"an open brace": "{", "half an object": good[:len(good)-1], "two objects": good + good, "an object and more": good + "x",
			"an object and a brace": good + "}", "single quotes": strings.ReplaceAll(good, `"`, "'"), "a comment": "/* */" + good,
			"a comma too many": good[:len(good)-1] + ",}", "no quotes": "{username:5}", "a byte order mark": "\ufeff" + good,
			"invalid UTF-8 in a text": good[:len(good)-1] + ",\"x\":\"\xff\"}", "an overlong NUL": good[:len(good)-1] + ",\"x\":\"\xc0\x80\"}",
			"a surrogate in UTF-8": good[:len(good)-1] + ",\"x\":\"\xed\xa0\x80\"}",
			"a raw NUL":            good[:len(good)-1] + ",\"x\":\"\x00\"}", "a raw line end": good[:len(good)-1] + ",\"x\":\"\n\"}",
			"NaN": good[:len(good)-1] + `,"x":NaN}`, "a hex number": good[:len(good)-1] + `,"x":0x1}`, "a bad escape": good[:len(good)-1] + `,"x":"\q"}`,
			"12,000 open lists":            good[:len(good)-1] + `,"x":` + strings.Repeat("[", 12_000) + strings.Repeat("]", 12_000) + "}",
			"30,000 lists in each other":   strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000),
			"11,000 objects in each other": strings.Repeat(`{"x":`, 11_000),
			"a form":                       "username=a&password=b", "XML": "<x/>", "a gzip stream": "\x1f\x8b\x08\x00\x00\x00\x00\x00",
		} {
			rows = append(rows, badRequest{r.path + ": " + name, w.post(r, []byte(body)), http.StatusBadRequest, api.CodeInvalidJSON, ""})
		}
		if r.path != "/api/messages/send" {
			body := append([]byte(good), strings.Repeat(" ", defaultBody)...)
			rows = append(rows, badRequest{r.path + ": too large", w.post(r, body), http.StatusRequestEntityTooLarge, api.CodeBodyTooLarge, ""})
		}
	}
	return rows
}

// fields are required fields that are missing or have another type, on each route.
func (w *world) fields() []badRequest {
	var rows []badRequest
	for _, r := range w.bodyRoutes() {
		for _, f := range r.fields {
			add := func(what, value string, code api.Code) {
				name := fmt.Sprintf("%s: %s %s", r.path, f[0], what)
				rows = append(rows, badRequest{name, w.post(r, r.body(f[0], value)), http.StatusBadRequest, code, f[0]})
			}
			add("absent", "", api.CodeMissingField)
			add("null", "null", api.CodeMissingField)
			add("a number", "5", api.CodeInvalidField)
			add("a large number", "1e400", api.CodeInvalidField)
			add("true", "true", api.CodeInvalidField)
			add("a list", `["x"]`, api.CodeInvalidField)
			add("deep lists", strings.Repeat("[", 5000)+strings.Repeat("]", 5000), api.CodeInvalidField)
			if f[0] == "recipientKeys" {
				add("a text", `"x"`, api.CodeInvalidField)
				continue
			}
			add("an object", `{"$ne":""}`, api.CodeInvalidField)
			add("empty", `""`, api.CodeMissingField)
			add("with a NUL", `"correct\u0000horse"`, api.CodeInvalidField)
		}
	}
	return rows
}

func (w *world) usernames() []badRequest {
	var rows []badRequest
	register := w.bodyRoutes()[0]
	for _, name := range []string{
		"a", "ab", strings.Repeat("a", 31), strings.Repeat("a", 5000), "a.b", "a-b", "a b", " abc", "abc ", "abc\n", "a*b", "abc>", "$where", "a/b", `a\b`,
		"a:b", "a@b", "a%00b", "a'b", `a"b`, "a;b", "a,b", "äbc", "абв", "ａｂｃ", "abc\u200b", "abc\u202e", "🔐🔐🔐", "../..", "<b>", "{}", "a\tb",
	} {
		call := w.post(register, register.body("username", quoted(strings.NewReplacer(`\`, `\\`, "\t", `\t`).Replace(name))))
		rows = append(rows, badRequest{"register as " + name[:min(len(name), 40)], call, http.StatusBadRequest, api.CodeInvalidField, "username"})
	}
	for _, name := range []string{"__proto__", "Constructor"} { // clients in JavaScript would lose them
		call := w.post(register, register.body("username", quoted(name)))
		rows = append(rows, badRequest{"register as " + name, call, http.StatusBadRequest, api.CodeInvalidField, "username"})
	}
	for _, name := range []string{w.ann.name, w.ann.canonical(), strings.ToUpper(w.ann.name)} {
		call := w.post(register, register.body("username", quoted(name)))
		rows = append(rows, badRequest{"register again as " + name, call, http.StatusConflict, api.CodeUsernameTaken, "username"})
	}
	return rows
}

// publicKeys are texts that are not exactly one usable public key, on both routes that take one.
func (w *world) publicKeys(t *testing.T) []badRequest {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	good := w.d.keys[3]
	even, square := modulus(2048), publickeytest.Prime(1024)
	even.Sub(even, big.NewInt(1))
	square.Mul(square, square)
	lines := strings.Split(good.pem, "\n")
	texts := map[string]string{
		"no PEM":                       "x",
		"base64 without a block":       strings.Join(lines[1:len(lines)-2], "\n"),
		"two blocks":                   good.pem + w.d.keys[2].pem,
		"the same block twice":         good.pem + good.pem,
		"text before the block":        "my key: " + good.pem,
		"text after the block":         good.pem + "my key",
		"a line before the block":      "x\n" + good.pem,
		"a block that does not end":    strings.TrimSuffix(good.pem, "-----END PUBLIC KEY-----\n"),
		"a block that ends as another": strings.Replace(good.pem, "END PUBLIC", "END RSA PUBLIC", 1),
		"a header in the block":        strings.Replace(good.pem, "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
		"rubbish in the base64":        strings.Replace(good.pem, "MII", "MI!I", 1),
		"an empty block":               block("PUBLIC KEY", nil),
		"rubbish in a block":           block("PUBLIC KEY", []byte("rubbish")),
		"bytes after the key":          block("PUBLIC KEY", append(append([]byte{}, good.der...), 0)),
		"half a key":                   block("PUBLIC KEY", good.der[:100]),
		"a certificate":                block("CERTIFICATE", good.der),
		"a PKCS #1 public key":         block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&private.PublicKey)),
		"a PKCS #1 private key":        block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)),
		"a PKCS #8 private key":        block("PRIVATE KEY", pkcs8),
		"a private key called public":  block("PUBLIC KEY", pkcs8),
		"a public and a private key":   good.pem + block("PRIVATE KEY", pkcs8),
		"a private and a public key":   block("PRIVATE KEY", pkcs8) + good.pem,
		"an encrypted private key":     block("ENCRYPTED PRIVATE KEY", pkcs8),
		"an EC key":                    newPublicKey(&ec.PublicKey).pem,
		"an Ed25519 key":               newPublicKey(ed).pem,
		"RSA-512":                      newPublicKey(&rsa.PublicKey{N: modulus(512), E: 65537}).pem,
		"RSA-1024":                     newPublicKey(&rsa.PublicKey{N: modulus(1024), E: 65537}).pem,
		"RSA-2047":                     newPublicKey(&rsa.PublicKey{N: modulus(2047), E: 65537}).pem,
		"RSA-16384":                    newPublicKey(&rsa.PublicKey{N: modulus(16384), E: 65537}).pem,
		"an even modulus":              newPublicKey(&rsa.PublicKey{N: even, E: 65537}).pem,
		"an exponent of 1":             newPublicKey(&rsa.PublicKey{N: modulus(2048), E: 1}).pem,
		"an exponent of 3":             newPublicKey(&rsa.PublicKey{N: modulus(2048), E: 3}).pem,
		"a small factor":               newPublicKey(&rsa.PublicKey{N: new(big.Int).Mul(modulus(2048), big.NewInt(601)), E: 65537}).pem,
		"a square":                     newPublicKey(&rsa.PublicKey{N: square, E: 65537}).pem,
		"a prime":                      newPublicKey(&rsa.PublicKey{N: publickeytest.Prime(2048), E: 65537}).pem,
		"an even exponent":             newPublicKey(&rsa.PublicKey{N: modulus(2048), E: 65536}).pem,
		"9 KiB":                        good.pem + strings.Repeat("\n", 9<<10),
		"only space":                   " \n ",
	}
	var rows []badRequest
	for _, r := range w.bodyRoutes() {
		if r.fields[len(r.fields)-1][0] != "publicKey" {
			continue
		}
		for name, text := range texts {
			call := w.post(r, r.body("publicKey", quoted(text)))
			rows = append(rows, badRequest{r.path + ": " + name, call, http.StatusBadRequest, api.CodeInvalidPublicKey, "publicKey"})
		}
	}
	return rows
}

// sends are the mistakes that only a send can make.
func (w *world) sends() []badRequest {
	send := w.bodyRoutes()[5]
	bob := quoted(w.bob.name)
	var rows []badRequest
	add := func(name, field, value string, code api.Code) {
		rows = append(rows, badRequest{"send: " + name, w.post(send, send.body(field, value)), http.StatusBadRequest, code, field})
	}
	for name, keys := range map[string]string{
		"nobody": `{}`, "an empty key": `{` + bob + `:""}`, "a null key": `{` + bob + `:null}`, "a number for a key": `{` + bob + `:5}`,
		"an object for a key": `{` + bob + `:{"k":"k"}}`, "a list for a key": `{` + bob + `:["k"]}`,
		"a key with a NUL": `{` + bob + `:"k\u0000"}`, "a key of 2049 bytes": `{` + bob + `:"` + strings.Repeat("k", 2049) + `"}`,
		"a name twice, in two cases": `{` + bob + `:"k",` + quoted(strings.ToUpper(w.bob.name)) + `:"k"}`,
		"a name with a NUL":          `{` + bob + `:"k","a\u0000b":"k"}`,
	} {
		add("to "+name, "recipientKeys", keys, api.CodeInvalidField)
	}
	for _, name := range []string{
		"Nemo_" + w.d.run, "__proto__", "constructor", "toString", "hasOwnProperty", "ab", strings.Repeat("a", 31), "a.b", "*", ">", "a*", "$ne", "$where",
		"a b", "", " ", "a/b", "..", "ä", "🔐", "inbox.v1", "null", "0", w.bob.name + " ", w.bob.name + ".", w.bob.name + "\u200b",
	} {
		add("to "+quoted(name), "recipientKeys", `{`+bob+`:"k",`+quoted(name)+`:"k"}`, api.CodeUnknownRecipients)
	}
	for name, value := range map[string]string{
		"a text": `"60"`, "a fraction": "1.5", "zero": "0", "negative": "-1", "past the retention": fmt.Sprint(retention + 1), "past 64 bits": "9223372036854775808",
		"past all bits": "1e400", "true": "true", "a list": "[60]", "an object": "{}",
	} {
		add("expiresIn "+name, "expiresIn", value, api.CodeInvalidField)
	}
	for name, value := range map[string]string{
		"a number": "5", "a list": `["x"]`, "an object": "{}", "129 characters": quoted(strings.Repeat("c", 129)), "a NUL": `"a\u0000"`,
	} {
		add("clientMessageId "+name, "clientMessageId", value, api.CodeInvalidField)
	}
	for name, value := range map[string]string{
		"a list": "[]", "a text": `"1"`, "a text for a version": `{` + bob + `:"1"}`, "a fraction": `{` + bob + `:1.5}`, "zero": `{` + bob + `:0}`,
		"negative": `{` + bob + `:-1}`, "past 64 bits": `{` + bob + `:9223372036854775808}`, "of somebody else": `{` + quoted(w.eve.name) + `:1}`,
		"of a name in another case": `{` + quoted(strings.ToUpper(w.bob.name)) + `:1}`, "of nobody": `{"":1}`, "of __proto__": `{"__proto__":1}`,
	} {
		add("recipientKeyVersions "+name, "recipientKeyVersions", value, api.CodeInvalidField)
	}
	add("iv of 65 characters", "iv", quoted(strings.Repeat("i", 65)), api.CodeInvalidField)
	both := w.post(send, send.body("clientMessageId", `"a"`))
	both.header = map[string]string{"Idempotency-Key": "b"}
	long := w.post(send, send.body("", ""))
	long.header = map[string]string{"Idempotency-Key": strings.Repeat("c", 129)}
	garbled := w.post(send, send.body("", ""))
	garbled.header = map[string]string{"Idempotency-Key": "k\xff\xfe"}
	return append(rows,
		badRequest{"send: another Idempotency-Key", both, http.StatusBadRequest, api.CodeInvalidField, "clientMessageId"},
		badRequest{"send: an Idempotency-Key that is no text", garbled, http.StatusBadRequest, api.CodeInvalidField, "clientMessageId"},
		badRequest{"send: an Idempotency-Key of 129 characters", long, http.StatusBadRequest, api.CodeInvalidField, "clientMessageId"},
	)
}
