// Package logtest has a log that tests can read while it is written.
package logtest

import (
	"bytes"
	"strings"
	"sync"
)

// Journal records what is written to it. Its methods may be called concurrently.
type Journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// String returns all that was written so far.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Count returns how often a text was written.
func (j *Journal) Count(text string) int { return strings.Count(j.String(), text) }

// Lines returns the lines that contain a text.
func (j *Journal) Lines(text string) []string {
	var found []string
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
