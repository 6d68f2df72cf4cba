package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// unsupported are the header parameters that change how a token is read. The JWT library ignores them.
var unsupported = []string{
	"crit", // RFC 7515, section 4.1.11: whoever does not understand an extension named here must refuse the token
	"b64",  // RFC 7797, section 7: not for JWTs
	"zip",  // RFC 7516: for encrypted tokens, as is enc
	"enc",
}

// checkHeader refuses a header that does not mean the same to every reader. Other parameters that are not known are ignored, as
// RFC 7515 demands; the key is chosen by kid alone, so one that a token brings along (jwk, jku, x5c, x5u) is never used.
func checkHeader(t *jwt.Token) error {
	for _, name := range unsupported {
		if _, there := t.Header[name]; there {
			return fmt.Errorf("the header has %s", name)
		}
	}
	// RFC 8725, section 3.11: a token of another kind that the same key signed must not pass for one of ours.
	if kind, there := t.Header["typ"]; there {
		if text, ok := kind.(string); !ok || !strings.EqualFold(text, "JWT") {
			return errors.New("the header's typ is not JWT")
		}
	}
	encoded, _, _ := strings.Cut(t.Raw, ".")
	header, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return err
	}
	return requireUnique(header)
}

// requireUnique refuses a JSON object that has a name twice (RFC 7515, section 4): parsers differ in which one they take.
func requireUnique(object []byte) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil { // the opening brace
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		text, _ := name.(string)
		if seen[text] {
			return errors.New("the header has a name twice")
		}
		seen[text] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
	}
	return nil
}
