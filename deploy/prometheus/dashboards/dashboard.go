// Package dashboards describes the Grafana dashboards and writes them as Grafana's JSON.
package dashboards

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Dashboard is one page, for one audience.
type Dashboard struct {
	// UID is its address in Grafana and its file's name.
	UID, Title, Description string
	Rows                    []Row
}

// Row is a group of panels under a title.
type Row struct {
	Title  string
	Panels []Panel
}

// Panel is one graph or number.
type Panel struct {
	Title, Description string
	// Unit is one of Grafana's units, such as s, reqps or percentunit.
	Unit string
	// Stat shows the last value as a number instead of a graph.
	Stat    bool
	Queries []Query
}

// Query is a panel's query, with the placeholders $node and $deployment for the user's selections.
type Query struct {
	Expr string
	// Legend names a series of the answer by its labels.
	Legend string
}

// The placeholders of an expression, and the matchers that replace them.
var selections = strings.NewReplacer(
	"$node", `cluster=~"$cluster",namespace=~"$namespace",job=~"$job"`,
	"$deployment", `cluster=~"$cluster",namespace=~"$namespace"`,
)

// everything replaces the user's selections by all, and Grafana's rate interval by 5m.
var everything = strings.NewReplacer("$__rate_interval", "5m", "$cluster", ".*", "$namespace", ".*", "$job", ".*")

// PromQL is the query when nothing is selected.
func (q Query) PromQL() string { return everything.Replace(selections.Replace(q.Expr)) }

// The width of a page, and the sizes of panels, in Grafana's units.
const (
	pageWidth  = 24
	graphWidth = 8
	statWidth  = 4
	graphTall  = 8
	statTall   = 4
)

// object is one of Grafana's JSON objects.
type object map[string]any

// JSON is the dashboard in Grafana's file format.
func (d Dashboard) JSON() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(object{
		"uid": d.UID, "title": d.Title, "description": d.Description, "tags": []string{"sealpost"},
		"schemaVersion": 39, "version": 1, "editable": false, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
		"time":       object{"from": "now-3h", "to": "now"},
		"templating": object{"list": variables()},
		"panels":     d.panels(),
		"links": []object{{
			"title": "Sealpost", "type": "dashboards", "tags": []string{"sealpost"}, "asDropdown": true,
			"includeVars": true, "keepTime": true,
		}},
	})
	return text.Bytes(), err
}

// variables are the selections at the top of the page.
func variables() []object {
	list := []object{{
		"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{},
	}}
	within := []string{}
	for _, label := range []string{"cluster", "namespace", "job"} {
		list = append(list, object{
			"name": label, "label": strings.ToUpper(label[:1]) + label[1:], "type": "query", "datasource": dataSource(),
			"query":   "label_values(sealpost_build_info{" + strings.Join(within, ",") + "}, " + label + ")",
			"refresh": 2, "sort": 1, "includeAll": true, "multi": true, "allValue": ".*",
			"current": object{"text": "All", "value": "$__all"},
		})
		within = append(within, label+`=~"$`+label+`"`)
	}
	return list
}

func dataSource() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// panels lays out the rows from left to right and from top to bottom.
func (d Dashboard) panels() []object {
	var list []object
	id, y := 0, 0
	add := func(o object, x, width, height int) {
		id++
		o["id"], o["gridPos"] = id, object{"x": x, "y": y, "w": width, "h": height}
		list = append(list, o)
	}
	for _, row := range d.Rows {
		add(object{"type": "row", "title": row.Title, "collapsed": false, "panels": []object{}}, 0, pageWidth, 1)
		y++
		x, tallest := 0, 0
		for _, p := range row.Panels {
			width, height := graphWidth, graphTall
			if p.Stat {
				width, height = statWidth, statTall
			}
			if x+width > pageWidth {
				x, y, tallest = 0, y+tallest, 0
			}
			add(p.object(), x, width, height)
			x, tallest = x+width, max(tallest, height)
		}
		y += tallest
	}
	return list
}

func (p Panel) object() object {
	o := object{
		"type": "timeseries", "title": p.Title, "description": p.Description, "datasource": dataSource(),
		"fieldConfig": object{
			"defaults": object{
				"unit": p.Unit, "min": 0,
				"custom": object{"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"},
			},
			"overrides": []object{},
		},
		"options": object{
			"legend":  object{"displayMode": "table", "placement": "bottom", "calcs": []string{"lastNotNull", "max"}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		},
	}
	if p.Stat {
		o["type"] = "stat"
		o["fieldConfig"] = object{"defaults": object{"unit": p.Unit}, "overrides": []object{}}
		o["options"] = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area"}
	}
	var targets []object
	for i, q := range p.Queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": dataSource(), "editorMode": "code", "range": true,
			"expr": selections.Replace(q.Expr), "legendFormat": q.Legend,
		})
	}
	o["targets"] = targets
	return o
}
