package networks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/networks"
)

func TestTheJudgeFindsEachFault(t *testing.T) {
	began := time.Now()
	for name, c := range map[string]struct {
		received    []string
		atLeastOnce bool
		want        []string
	}{
		"nothing is wrong":                    {received: []string{"a", "b", "c"}},
		"one is passed over":                  {received: []string{"a", "c"}, want: []string{"1 lost"}},
		"the last ones do not come":           {received: []string{"a"}, want: []string{"2 did not come"}},
		"one comes late":                      {received: []string{"a", "c", "b"}, want: []string{"1 out of order"}},
		"one comes twice":                     {received: []string{"a", "b", "b", "c"}, want: []string{"1 repeated"}},
		"one comes twice to one who may have": {received: []string{"a", "b", "a", "b", "c"}, atLeastOnce: true},
		"one was never sent":                  {received: []string{"a", "b", "c", "z"}, want: []string{"1 that nobody sent"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := networks.NewJudge()
			for i, text := range []string{"a", "b", "c"} {
				j.Sending(text)
				j.Acknowledged(text, began.Add(time.Duration(i)*time.Second))
			}
			for _, text := range c.received {
				j.Received(text, began.Add(time.Minute))
			}
			v := j.Verdict()
			require.Equal(t, c.want, v.Faults(c.atLeastOnce))
			require.Equal(t, time.Minute, v.Worst)
		})
	}
}
