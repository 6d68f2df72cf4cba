package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

func TestASendIsReadAsEncodingJSONReadsIt(t *testing.T) {
	for name, body := range map[string]string{
		"least":    `{"encryptedContent":"c","iv":"i","recipientKeys":{"Bob":"k"}}`,
		"all":      `{"encryptedContent":"c+/=","iv":"i","recipientKeys":{"Bob":"k","Cid":"l"},"recipientKeyVersions":{"Bob":2,"Cid":999999999},"clientMessageId":"1","expiresIn":60}`,
		"spaces":   ` { "iv" : "i" , "recipientKeys" : { } , "recipientKeyVersions" : {} , "expiresIn" : 0 } `,
		"empty":    `{}`,
		"repeated": `{"recipientKeys":{"Bob":"k","Bob":"l"}}`,
		"many":     `{"recipientKeys":{` + strings.TrimSuffix(strings.Repeat(`"a":"b",`, 40), ",") + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var got, want api.SendRequest
			require.True(t, got.DecodeCommon(body))
			require.NoError(t, json.Unmarshal([]byte(body), &want))
			require.Equal(t, want, got)
		})
	}
}

func TestAnUnusualSendIsLeftToEncodingJSON(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": ``, "another type": `[]`, "null": `null`, "not closed": `{"iv":"i"`, "something behind": `{"iv":"i"}{}`, "comma": `{"iv":"i",}`,
		"no name": `{:"i"}`, "no colon": `{"iv" "i"}`, "escape": `{"iv":"\u0069"}`, "line ends": "{\n}", "tab in a string": "{\"iv\":\"\t\"}",
		"not ASCII": `{"iv":"é"}`, "NUL": "{\"iv\":\"\x00\"}", "unknown field": `{"iv":"i","x":1}`, "other spelling": `{"IV":"i"}`,
		"twice": `{"iv":"i","iv":"j"}`, "wrong type": `{"iv":1}`, "null field": `{"iv":null}`, "key of another type": `{"recipientKeys":{"Bob":1}}`,
		"leading zero": `{"expiresIn":01}`, "fraction": `{"expiresIn":1.0}`, "exponent": `{"expiresIn":1e3}`, "negative": `{"expiresIn":-1}`,
		"large": `{"expiresIn":1000000000}`, "no number": `{"expiresIn":}`, "string not closed": `{"iv":"i}`,
	} {
		t.Run(name, func(t *testing.T) {
			var r api.SendRequest
			require.False(t, r.DecodeCommon(body))
			require.Equal(t, api.SendRequest{}, r)
		})
	}
}

// members returns a JSON object of n members with different names.
func members(n int, value string) string {
	text := make([]byte, 0, 10*n)
	for i := range n {
		text = fmt.Appendf(append(text, ','), `"%x":%s`, i, value)
	}
	return "{" + strings.TrimPrefix(string(text), ",") + "}"
}

// decodeSend decodes a send in both ways, and returns the field that was refused.
func decodeSend(t *testing.T, body string) (field string) {
	t.Helper()
	var common, r api.SendRequest
	taken := common.DecodeCommon(body)
	err := json.Unmarshal([]byte(body), &r)
	var fault *api.Error
	if errors.As(err, &fault) {
		require.False(t, taken)
		require.Equal(t, api.CodeInvalidField, fault.Code)
		return fault.Field
	}
	require.NoError(t, err)
	if taken {
		require.Equal(t, r, common)
	}
	return ""
}

func TestASendHasAtMost1024Recipients(t *testing.T) {
	for name, c := range map[string]struct{ body, field string }{
		"as many as there may be":      {`{"recipientKeys":` + members(1024, `"k"`) + `,"recipientKeyVersions":` + members(1024, "1") + `}`, ""},
		"one key more":                 {`{"recipientKeys":` + members(1025, `"k"`) + `}`, "recipientKeys"},
		"one version more":             {`{"recipientKeyVersions":` + members(1025, "1") + `}`, "recipientKeyVersions"},
		"in another spelling":          {`{"RECIPIENTK\u0065YS": ` + members(1025, `"k"`) + `}`, "recipientKeys"},
		"a little in each of two":      {`{"recipientKeys":{"a":"k"},"recipientKeys":` + members(1024, `"k"`) + `}`, "recipientKeys"},
		"of a wrong type":              {`{"recipientKeys":` + members(1025, `[{"a":1,"b":2}]`) + `}`, "recipientKeys"},
		"what looks like more in text": {`{"recipientKeys":{"a":"` + strings.Repeat(`\":{`, 2000) + `"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.field, decodeSend(t, c.body)) })
	}
}

func TestKeysOfAWrongTypeAreNamed(t *testing.T) {
	for field, bodies := range map[string][]string{
		"recipientKeys":        {`{"recipientKeys":1}`, `{"recipientKeys":[]}`, `{"recipientKeys":{"Bob":1}}`, `{"recipientKeys":{"Bob":{}}}`},
		"recipientKeyVersions": {`{"recipientKeyVersions":"x"}`, `{"recipientKeyVersions":{"Bob":"1"}}`, `{"recipientKeyVersions":{"Bob":1.5}}`},
	} {
		for _, body := range bodies {
			var r api.SendRequest
			var wrong *json.UnmarshalTypeError
			require.ErrorAs(t, json.Unmarshal([]byte(body), &r), &wrong, body)
			require.Equal(t, field, wrong.Field, body)
		}
	}
	var r api.SendRequest
	require.NoError(t, json.Unmarshal([]byte(`{"recipientKeys":null,"recipientKeyVersions":null}`), &r))
	require.Equal(t, api.SendRequest{}, r)
}

func TestDecodingTakesNoMemoryForMoreRecipientsThanThereMayBe(t *testing.T) {
	const recipients = 582_000
	for name, body := range map[string]string{
		"common":        `{"recipientKeys":` + members(recipients, "1") + `}`,
		"keys":          `{"recipientKeys":` + members(recipients, `"k"`) + `}`,
		"unusual":       `{"x":0,"recipientKeys":` + members(recipients, `"\u006b"`) + `}`,
		"versions":      `{"recipientKeyVersions":` + members(recipients, "1") + `}`,
		"in many parts": `{` + strings.TrimSuffix(strings.Repeat(`"recipientKeys":`+members(1024, `"k"`)+`,`, 500), ",") + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			text := []byte(body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var r api.SendRequest
			taken, err := r.DecodeCommon(body), json.Unmarshal(text, &r)
			runtime.ReadMemStats(&after)
			require.False(t, taken)
			require.Error(t, err)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		})
	}
}

func FuzzDecodeCommon(f *testing.F) {
	f.Add(`{"encryptedContent":"c+/=","iv":"i","recipientKeys":{"Bob":"k","Cid":"l"},"recipientKeyVersions":{"Bob":2},"clientMessageId":"1","expiresIn":60}`)
	f.Add(`{"recipientKeys":{},"recipientKeyVersions":{"":0}} `)
	f.Add(`{"iv":"\\"}`)
	f.Fuzz(func(t *testing.T, body string) {
		var got, want api.SendRequest
		if !got.DecodeCommon(body) {
			return
		}
		require.NoError(t, json.Unmarshal([]byte(body), &want))
		require.Equal(t, want, got)
	})
}

func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "plain", "eight by", `a"b`, `a\b`, "a\nb", "a\x7fb", "é", "\xff", "1234567\x1f", "1234567\x80", `1234567"`, "<&>", "0\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		var want, got string
		require.NoError(t, json.Unmarshal(quoted, &want))
		require.NoError(t, json.Unmarshal(api.AppendString(nil, text), &got))
		require.Equal(t, want, got)
	})
}

func TestAnAcknowledgementIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	for _, r := range []api.SendResponse{
		{Message: "message sent", MessageID: "0123", Timestamp: api.At(time.UnixMilli(1700000000007))},
		{Message: `"`, MessageID: "é", Timestamp: api.At(time.Unix(0, 0).In(time.FixedZone("", 3600))), Duplicate: true},
	} {
		want, err := json.Marshal(r)
		require.NoError(t, err)
		require.Equal(t, string(want), string(r.AppendJSON(nil)))
	}
}

// benchmarkBody is a send to 20, with RSA-2048 keys.
func benchmarkBody(b *testing.B) string {
	r := api.SendRequest{EncryptedContent: strings.Repeat("c", 512), IV: "0123456789abcdef", RecipientKeys: map[string]string{}, RecipientKeyVersions: map[string]int{}}
	for i := range 20 {
		name := "user" + string(rune('a'+i))
		r.RecipientKeys[name], r.RecipientKeyVersions[name] = strings.Repeat("k", 344), 1
	}
	body, err := json.Marshal(r)
	require.NoError(b, err)
	return string(body)
}

func BenchmarkDecodeCommon(b *testing.B) {
	body := benchmarkBody(b)
	b.ReportAllocs()
	for b.Loop() {
		var r api.SendRequest
		if !r.DecodeCommon(body) {
			b.Fatal("not taken")
		}
	}
}

func BenchmarkDecodeByReflection(b *testing.B) {
	body := []byte(benchmarkBody(b))
	b.ReportAllocs()
	for b.Loop() {
		var r api.SendRequest
		if err := json.Unmarshal(body, &r); err != nil {
			b.Fatal(err)
		}
	}
}
