package api_test

import (
	"encoding/json"
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
