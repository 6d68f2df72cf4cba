package report

import (
	_ "embed"
	"html/template"
	"io"

	"github.com/sealpost/sealpost/deploy/test/load/measure"
)

//go:embed page.html
var pageText string

// page is the data of the template.
type page struct {
	*Report
	Plots []template.HTML
}

// WriteHTML writes the report as one self-contained page.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{"at": measure.Summary.At}).Parse(pageText)
	if err != nil {
		return err
	}
	p := page{Report: r}
	if len(r.Latencies) > 0 {
		p.Plots = append(p.Plots, percentilePlot(r.Latencies))
		for _, s := range r.Latencies {
			if len(s.Timeline) > 1 {
				p.Plots = append(p.Plots, throughputPlot(s), latencyPlot(s))
			}
		}
	}
	return t.Execute(w, p)
}
