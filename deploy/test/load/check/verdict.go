package check

import "fmt"

// Verdict is the judgement on a run.
type Verdict struct {
	// Sends is the number of sends, Accepted of them were accepted and Unknown ended without the server's answer.
	Sends    int64 `json:"sends"`
	Accepted int64 `json:"accepted"`
	Unknown  int64 `json:"unknown"`
	// Expected is the number of deliveries of the accepted sends, Arrived that of messages that arrived.
	Expected int64 `json:"expected"`
	Arrived  int64 `json:"arrived"`
	// Missing did not arrive, Repeated arrived again, Disordered came at a lower position than the one before, Gaps are answers that left
	// positions out, and Strange was for another reader, refused, or never sent.
	Missing    int64    `json:"missing"`
	Repeated   int64    `json:"repeated"`
	Disordered int64    `json:"disordered"`
	Gaps       int64    `json:"gaps"`
	Strange    int64    `json:"strange"`
	Examples   []string `json:"examples,omitempty"`
}

// OK reports whether nothing was wrong.
func (v Verdict) OK() bool { return v.Missing+v.Repeated+v.Disordered+v.Gaps+v.Strange == 0 }

// String is the verdict in one line.
func (v Verdict) String() string {
	if v.OK() {
		return fmt.Sprintf("each of %d accepted messages arrived once, in order: %d deliveries", v.Accepted, v.Expected)
	}
	return fmt.Sprintf("WRONG: of %d deliveries %d missing, %d repeated, %d out of order, %d with positions left out, %d not asked for",
		v.Expected, v.Missing, v.Repeated, v.Disordered, v.Gaps, v.Strange)
}

func (v *Verdict) example(format string, args ...any) {
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// Judge judges the run. Nothing may be sent or read any more.
func (r *Run) Judge() Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := Verdict{Sends: int64(len(r.sends)), Expected: r.expected.Load(), Arrived: r.arrived.Load()}
	addressed := make([][]uint32, len(r.readers))
	for n, s := range r.sends {
		switch s.outcome {
		case Accepted:
			v.Accepted++
		case Unknown:
			v.Unknown++
		case Refused:
			continue
		}
		for _, to := range s.to {
			addressed[to] = append(addressed[to], uint32(n))
		}
	}
	marks := make([]mark, len(r.sends))
	for i, reader := range r.readers {
		v.judge(r, reader, addressed[i], marks)
	}
	return v
}

// mark is the state of one message for one reader.
type mark struct {
	reader   int // the reader's index + 1
	arrivals int
}

func (v *Verdict) judge(r *Run, reader *Reader, addressed []uint32, marks []mark) {
	me := reader.index + 1
	for _, n := range addressed {
		marks[n] = mark{reader: me}
	}
	for _, n := range reader.got {
		if int(n) >= len(marks) || marks[n].reader != me {
			v.Strange++
			v.example("reader %d was given message %d, which is not for it, was refused, or was never sent", reader.index, n)
			continue
		}
		if marks[n].arrivals++; marks[n].arrivals > 1 {
			v.Repeated++
			v.example("reader %d was given message %d again", reader.index, n)
		}
	}
	for _, n := range addressed {
		if marks[n].arrivals == 0 && r.sends[n].outcome == Accepted {
			v.Missing++
			v.example("reader %d was never given message %d", reader.index, n)
		}
	}
	v.Disordered += reader.disordered
	v.Gaps += reader.gaps
	for _, e := range reader.examples {
		v.example("%s", e)
	}
}
