package networks

import (
	"log/slog"
	"os"
	"slices"
	"strings"
)

// Mode is the environment variable that says how much is run, and whether programs may be missing.
const Mode = "SEALPOST_NETWORKS"

// Full reports whether all cells are to be run.
func Full() bool { return hasWord("full") }

// Required reports whether a program that is missing fails a test, as for the other tests that need engines.
func Required() bool { return hasWord("required") || os.Getenv("SEALPOST_ENGINES") == "required" }

func hasWord(word string) bool { return slices.Contains(strings.Split(os.Getenv(Mode), ","), word) }

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
