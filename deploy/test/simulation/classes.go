package simulation

import (
	"regexp"
	"slices"
	"strings"
)

var (
	numbers = regexp.MustCompile(`[0-9a-f]{24}|[0-9.]+(ns|µs|ms|s|m|h)([0-9.hms]*s)?|\[[^\]]*\]|[0-9]+`)
	moment  = regexp.MustCompile(`^[0-9.hm]*[µm]?s: `)
)

// Classes returns the kinds of a run's faults, sorted: their texts without what differs from run to run.
func (r Result) Classes() []string {
	var list []string
	for _, f := range r.Faults {
		text := numbers.ReplaceAllString(moment.ReplaceAllString(f, ""), "#")
		text, _, _ = strings.Cut(text, "\n")
		list = append(list, text)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Shares reports whether a run has a fault of one of the kinds.
func (r Result) Shares(classes []string) bool {
	return slices.ContainsFunc(r.Classes(), func(c string) bool { return slices.Contains(classes, c) })
}

// Shrink drops faults and rates while try says that the run still fails, and returns what is left.
func Shrink(p Plan, try func(Choice) bool) Choice {
	faults := make([]int, len(p.Faults))
	for i := range faults {
		faults[i] = i
	}
	var names []string
	for _, r := range rates {
		if p.Rates[r.name] > 0 {
			names = append(names, r.name)
		}
	}
	for again := true; again; {
		before := len(faults) + len(names)
		faults = fewest(faults, func(list []int) bool { return try(Choice{&list, &names}) })
		names = fewest(names, func(list []string) bool { return try(Choice{&faults, &list}) })
		again = len(faults)+len(names) < before
	}
	return Choice{&faults, &names}
}

// fewest drops halves first, then single elements.
func fewest[T any](list []T, try func([]T) bool) []T {
	for size := (len(list) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(list); {
			less := slices.Delete(slices.Clone(list), at, min(at+size, len(list)))
			if try(less) {
				list = less
			} else {
				at += size
			}
		}
	}
	return list
}
