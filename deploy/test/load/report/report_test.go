package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
)

func sample() *Report {
	start := time.Now()
	s := measure.NewSeries("delivery <x>", start)
	for i := range 5000 {
		s.Record(start.Add(time.Duration(i)*time.Millisecond), time.Duration(i)*time.Microsecond)
	}
	r := &Report{
		Scenario: "deliver", Target: []string{"http://<a>"}, Started: start.UTC(), Seconds: 5, Settings: []Setting{{"users", "2"}},
		Latencies: []measure.Summary{s.Summary()}, Statuses: map[string]int64{"send 201": 3}, Check: &check.Verdict{Accepted: 3, Expected: 3},
	}
	r.Figure("deliveries", 1234.5, "/s")
	return r
}

func TestAReportSurvivesJSON(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	require.NoError(t, r.WriteJSON(&b))
	var got Report
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Equal(t, r.Latencies, got.Latencies)
	value, ok := got.Value("deliveries")
	require.True(t, ok)
	require.Equal(t, 1234.5, value)
	_, ok = got.Value("nothing")
	require.False(t, ok)
	require.Equal(t, r.Latencies[0], got.Latency("delivery <x>"))
	require.Zero(t, got.Latency("nothing").Count)
}

func TestTheTextSaysWhatWasMeasuredAndWhatWasWrong(t *testing.T) {
	r := sample()
	require.True(t, r.Passed())
	r.Check.Missing, r.Check.Examples = 1, []string{"reader 0 was never given message 1"}
	r.Fault("only %d polls", 3)
	require.False(t, r.Passed())
	var b bytes.Buffer
	require.NoError(t, r.WriteText(&b))
	for _, want := range []string{"deliveries  1234 /s", "p99.9", "3 × send 201", "1 missing", "never given message 1", "WRONG: only 3 polls"} {
		require.Contains(t, b.String(), want)
	}
}

func TestThePageNeedsNothingElseAndEscapesNames(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	require.NoError(t, r.WriteHTML(&b))
	page := b.String()
	require.NotContains(t, page, "<x>")
	require.NotContains(t, page, "<a>")
	require.NotRegexp(t, `(src|href)=|@import|url\(`, page)
	plots := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	require.Len(t, plots, 3)
	for _, p := range plots {
		require.NotContains(t, p, "NaN")
		require.NotContains(t, p, "Inf")
		for d := xml.NewDecoder(bytes.NewBufferString(p)); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
	}
}

func TestAReportWithoutLatenciesHasAPage(t *testing.T) {
	require.NoError(t, (&Report{Scenario: "park"}).WriteHTML(io.Discard))
	require.NoError(t, (&Report{Scenario: "park"}).WriteText(io.Discard))
}
