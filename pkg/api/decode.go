package api

import "strings"

// DecodeCommon decodes a send as nearly all clients write it: one object in ASCII without escapes, with the known fields in their
// exact spelling, each once, and no more recipients than there may be. The result equals encoding/json's, with strings that share text's memory. For anything else, wrong or
// only unusual, it returns false and leaves r empty: encoding/json must decode it.
func (r *SendRequest) DecodeCommon(text string) bool {
	if !plain(text) {
		return false
	}
	d := decoder{text: text, ok: true}
	var seen [6]bool
	d.object(func(name string) {
		var i int
		switch name {
		case "encryptedContent":
			i, r.EncryptedContent = 0, d.str()
		case "iv":
			i, r.IV = 1, d.str()
		case "recipientKeys":
			i, r.RecipientKeys = 2, d.texts()
		case "recipientKeyVersions":
			i, r.RecipientKeyVersions = 3, d.numbers()
		case "clientMessageId":
			i, r.ClientMessageID = 4, d.str()
		case "expiresIn":
			seconds := d.number()
			i, r.ExpiresIn = 5, &seconds
		default:
			d.ok = false
		}
		d.ok = d.ok && !seen[i]
		seen[i] = true
	})
	if d.space(); !d.ok || d.text != "" {
		*r = SendRequest{}
		return false
	}
	return true
}

// decoder reads JSON (RFC 8259) from the front of a plain text. ok is false once it has met anything unsupported; then its results
// mean nothing.
type decoder struct {
	text string
	ok   bool
}

func (d *decoder) space() { d.text = strings.TrimLeft(d.text, " ") } // other blanks are control characters

// is skips c if it comes next.
func (d *decoder) is(c byte) bool {
	d.space()
	if d.text == "" || d.text[0] != c {
		return false
	}
	d.text = d.text[1:]
	return true
}

func (d *decoder) must(c byte) { d.ok = d.is(c) && d.ok }

// object calls member with the name of each member of an object. member reads the value.
func (d *decoder) object(member func(name string)) {
	d.must('{')
	if d.is('}') {
		return
	}
	for d.ok {
		name := d.str()
		d.must(':')
		if !d.ok {
			return
		}
		member(name)
		if !d.is(',') {
			d.must('}')
			return
		}
	}
}

func (d *decoder) str() string {
	d.must('"')
	end := strings.IndexByte(d.text, '"')
	if !d.ok || end < 0 {
		d.ok = false
		return ""
	}
	text := d.text[:end]
	d.text = d.text[end+1:]
	return text
}

// number reads a whole number from 0 to 999,999,999.
func (d *decoder) number() (n int64) {
	d.space()
	digits := 0
	for digits < len(d.text) && '0' <= d.text[digits] && d.text[digits] <= '9' {
		n = 10*n + int64(d.text[digits]-'0')
		if digits++; digits > 9 {
			break
		}
	}
	if digits == 0 || digits > 9 || (digits > 1 && d.text[0] == '0') {
		d.ok = false
		return 0
	}
	d.text = d.text[digits:]
	return n
}

// texts reads an object of strings. If a name is repeated, its last value counts, as with encoding/json.
func (d *decoder) texts() map[string]string {
	type pair struct{ name, value string }
	var few [32]pair
	pairs := few[:0]
	d.object(func(name string) {
		if len(pairs) == MaxRecipients { // encoding/json says what is wrong
			d.ok = false
			return
		}
		pairs = append(pairs, pair{name, d.str()})
	})
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		m[p.name] = p.value
	}
	return m
}

func (d *decoder) numbers() map[string]int {
	m, members := map[string]int{}, 0
	d.object(func(name string) {
		if members++; members > MaxRecipients {
			d.ok = false
			return
		}
		m[name] = int(d.number())
	})
	return m
}
