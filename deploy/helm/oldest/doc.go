// Package oldest holds what the chart renders against the API of the oldest Kubernetes that it asks for: a field that came
// later is an error. It has tests alone, and is a module of its own because of all that the schemas come with.
package oldest
