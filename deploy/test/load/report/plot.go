package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/sealpost/sealpost/deploy/test/load/measure"
)

const (
	plotWidth, plotHeight                         = 860.0, 260.0
	marginLeft, marginRight, marginTop, marginEnd = 70.0, 120.0, 30.0, 35.0
)

// colours can be told apart with colour vision deficiencies, too (Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// line is one line of a plot, in the units of its axes.
type line struct {
	name   string
	points [][2]float64
}

// axis maps values to the range from 0 to 1, and has marks.
type axis struct {
	place func(float64) float64
	marks []axisMark
}

type axisMark struct {
	at   float64
	text string
}

// plot draws lines as SVG.
func plot(title string, x, y axis, lines []line) template.HTML {
	var b strings.Builder
	px := func(v float64) float64 { return marginLeft + x.place(v)*(plotWidth-marginLeft-marginRight) }
	py := func(v float64) float64 { return plotHeight - marginEnd - y.place(v)*(plotHeight-marginTop-marginEnd) }
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" width="%g" role="img"><text x="%g" y="18">%s</text>`,
		plotWidth, plotHeight, plotWidth, marginLeft, template.HTMLEscapeString(title))
	for _, m := range y.marks {
		fmt.Fprintf(&b, `<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`,
			marginLeft, py(m.at), plotWidth-marginRight, marginLeft-6, py(m.at)+4, m.text)
	}
	for _, m := range x.marks {
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, px(m.at), plotHeight-marginEnd+18, m.text)
	}
	for i, l := range lines {
		colour := colours[i%len(colours)]
		points := make([]string, len(l.points))
		for k, p := range l.points {
			points[k] = fmt.Sprintf("%.1f,%.1f", px(p[0]), py(p[1]))
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/><text x="%g" y="%g" style="fill:%s">%s</text>`,
			colour, strings.Join(points, " "), plotWidth-marginRight+10, marginTop+10+float64(i)*18, colour, template.HTMLEscapeString(l.name))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // what is not a number of ours is escaped
}

// percentilePlot shows the distribution of latencies; each step to the right is ten times rarer.
func percentilePlot(list []measure.Summary) template.HTML {
	const furthest = 99.999
	place := func(percent float64) float64 {
		return math.Log10(100/(100-min(percent, furthest))) / math.Log10(100/(100-furthest))
	}
	x := axis{place: place}
	for _, p := range []float64{0, 50, 90, 99, 99.9, 99.99, furthest} {
		x.marks = append(x.marks, axisMark{p, fmt.Sprintf("%g%%", p)})
	}
	var lines []line
	lowest, highest := math.Inf(1), 0.0
	for _, s := range list {
		l := line{name: s.Name}
		for _, p := range s.Percentiles {
			if p.Percent <= furthest {
				l.points = append(l.points, [2]float64{p.Percent, p.Millis})
			}
		}
		lowest, highest = min(lowest, s.Min), max(highest, s.Max)
		lines = append(lines, l)
	}
	return plot("latency by percentile, ms", x, logAxis(lowest, highest), lines)
}

// throughputPlot shows the count of each second.
func throughputPlot(s measure.Summary) template.HTML {
	l, most := line{name: s.Name}, 0.0
	for _, i := range whole(s.Timeline) {
		l.points = append(l.points, [2]float64{float64(i.Second), float64(i.Count)})
		most = max(most, float64(i.Count))
	}
	return plot(s.Name+": count a second, over time (s)", secondsAxis(s), linearAxis(0, most), []line{l})
}

// latencyPlot shows latencies over time.
func latencyPlot(s measure.Summary) template.HTML {
	lines := []line{{name: "p50"}, {name: "p99"}, {name: "max"}}
	lowest, highest := math.Inf(1), 0.0
	for _, i := range s.Timeline {
		for k, v := range []float64{i.P50, i.P99, i.Max} {
			lines[k].points = append(lines[k].points, [2]float64{float64(i.Second), v})
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	return plot(s.Name+": latency in ms, over time (s)", secondsAxis(s), logAxis(lowest, highest), lines)
}

// whole leaves out the last second, which is incomplete.
func whole(t []measure.Interval) []measure.Interval {
	if len(t) > 2 {
		return t[:len(t)-1]
	}
	return t
}

func secondsAxis(s measure.Summary) axis {
	return linearAxis(0, float64(max(1, s.Timeline[len(s.Timeline)-1].Second)))
}

// linearAxis has about five round marks.
func linearAxis(from, to float64) axis {
	to = max(to, from+1)
	a := axis{place: func(v float64) float64 { return (v - from) / (to - from) }}
	step := math.Pow(10, math.Floor(math.Log10((to-from)/2)))
	for (to-from)/step > 6 {
		step *= 2
	}
	for v := from; v <= to; v += step {
		a.marks = append(a.marks, axisMark{v, fmt.Sprintf("%g", v)})
	}
	return a
}

// logAxis has a mark at each power of ten.
func logAxis(lowest, highest float64) axis {
	from := math.Floor(math.Log10(max(lowest, 0.001)))
	to := max(math.Ceil(math.Log10(max(highest, 0.001))), from+1)
	a := axis{place: func(v float64) float64 { return max(0, (math.Log10(max(v, 0.001))-from)/(to-from)) }}
	for e := from; e <= to; e++ {
		v := math.Pow(10, e)
		a.marks = append(a.marks, axisMark{v, fmt.Sprintf("%g", v)})
	}
	return a
}
