package check

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const id = 7

// told makes messages of the run at positions from 1.
func told(numbers ...uint32) []Message {
	var list []Message
	for i, n := range numbers {
		list = append(list, Message{Position: int64(i + 1), Stamp: Stamp{Run: id, N: n}})
	}
	return list
}

// sent makes a run with messages to reader 0, with these outcomes.
func sent(outcomes ...Outcome) *Run {
	r := NewRun(id, 2)
	for _, o := range outcomes {
		r.End(r.Begin([]int{0}), o)
	}
	r.Reader(0).Start(0)
	return r
}

func TestARunInWhichAllArrivedOnceAndInOrderIsRight(t *testing.T) {
	r := sent(Accepted, Accepted, Accepted)
	require.EqualValues(t, 3, r.Outstanding())
	r.Reader(0).Take(told(1, 0), nil, 2) // positions order messages, not the senders
	require.EqualValues(t, 1, r.Outstanding())
	r.Reader(0).Take([]Message{{Position: 5, Stamp: Stamp{Run: id, N: 2}}}, []int64{3, 4}, 5)
	r.Reader(0).Take([]Message{{Position: 6, Stamp: Stamp{Run: id + 1, N: 2}}}, nil, 6) // of another run
	v := r.Judge()
	require.True(t, v.OK(), v.Examples)
	require.Equal(t, Verdict{Sends: 3, Accepted: 3, Expected: 3, Arrived: 3}, v)
	require.Zero(t, r.Outstanding())
}

func TestAMissingMessageIsFound(t *testing.T) {
	r := sent(Accepted, Accepted, Accepted)
	r.Reader(0).Take(told(0, 2), nil, 2)
	v := r.Judge()
	require.False(t, v.OK())
	require.EqualValues(t, 1, v.Missing)
	require.Contains(t, v.Examples[0], "reader 0 was never given message 1")
	require.Contains(t, v.String(), "1 missing")
}

func TestARepeatedMessageIsFound(t *testing.T) {
	r := sent(Accepted, Accepted)
	r.Reader(0).Take(told(0, 1, 0), nil, 3)
	v := r.Judge()
	require.EqualValues(t, 1, v.Repeated)
	require.Zero(t, v.Missing)
	require.False(t, v.OK())
}

func TestARepeatedAnswerIsFound(t *testing.T) {
	r := sent(Accepted, Accepted)
	r.Reader(0).Take(told(0, 1), nil, 2)
	r.Reader(0).Take(told(0, 1), nil, 2)
	v := r.Judge()
	require.EqualValues(t, 2, v.Repeated)
	require.EqualValues(t, 2, v.Disordered)
}

func TestADisorderedMessageIsFound(t *testing.T) {
	r := sent(Accepted, Accepted)
	m := told(0, 1)
	m[0], m[1] = m[1], m[0]
	r.Reader(0).Take(m, nil, 2)
	v := r.Judge()
	require.EqualValues(t, 1, v.Disordered)
	require.Contains(t, v.Examples[0], "position 1 after 2")
}

func TestAPositionThatIsLeftOutIsFound(t *testing.T) {
	r := sent(Accepted)
	r.Reader(0).Take([]Message{{Position: 2, Stamp: Stamp{Run: id}}}, nil, 2)
	require.EqualValues(t, 1, r.Judge().Gaps)
}

func TestAMessageThatIsForSomebodyElseOrWasRefusedIsFound(t *testing.T) {
	r := sent(Accepted, Refused)
	r.Reader(0).Take(told(0, 1), nil, 2)
	r.Reader(1).Take(told(0, 99), nil, 2)
	v := r.Judge()
	require.EqualValues(t, 3, v.Strange)
	require.Zero(t, v.Missing)
}

func TestWhatEndedWithoutAnAnswerMayCome(t *testing.T) {
	r := sent(Unknown, Unknown)
	r.Reader(0).Take(told(1), nil, 1)
	v := r.Judge()
	require.True(t, v.OK())
	require.EqualValues(t, 2, v.Unknown)
	r.Reader(0).Take([]Message{{Position: 2, Stamp: Stamp{Run: id, N: 1}}}, nil, 2)
	require.EqualValues(t, 1, r.Judge().Repeated)
}

func TestAStampReadsAsItWasWritten(t *testing.T) {
	s := Stamp{Run: 0xdeadbeef, N: 12, At: 1<<62 + 3}
	text := string(s.Append(nil))
	require.Len(t, text, StampBytes)
	got, ok := ParseStamp(text + "abc")
	require.True(t, ok)
	require.Equal(t, s, got)
	for _, bad := range []string{"", text[1:], "x" + text[1:], text[:9] + "x" + text[10:], text[:18] + "x" + text[19:]} {
		_, ok := ParseStamp(bad)
		require.False(t, ok, bad)
	}
}
