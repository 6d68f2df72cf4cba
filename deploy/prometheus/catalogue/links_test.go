package catalogue_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	// anchorPattern is what GitHub leaves out of the name of a heading.
	anchorPattern = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are the names of a page's headings in links.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range headingPattern.FindAllStringSubmatch(text, -1) {
		name := anchorPattern.ReplaceAllString(strings.ToLower(match[1]), "")
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}

// TestEveryLinkLeadsSomewhere: links between the pages of the repository name files and headings that exist.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	const root = "../../.."
	links := 0
	require.NoError(t, filepath.WalkDir(root, func(page string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && page != root:
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(page) != ".md":
			return nil
		}
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		for _, match := range linkPattern.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(match[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: there is no such file", page, match[1])
				continue
			}
			if anchor == "" || filepath.Ext(target) != ".md" {
				continue
			}
			linked, err := os.ReadFile(target)
			if err != nil {
				return err
			}
			if !anchors(string(linked))[anchor] {
				t.Errorf("%s: %s: there is no such heading", page, match[1])
			}
		}
		return nil
	}))
	require.Greater(t, links, 50)
}

// testPattern finds the name of a test in a page, or in Go.
var testPattern = regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]+\b`)

// TestWhatThePageForClientsSaysIsHeldByTests: it names the test of each of its claims.
func TestWhatThePageForClientsSaysIsHeldByTests(t *testing.T) {
	const root = "../../.."
	page, err := os.ReadFile(filepath.Join(root, "pkg/api/CLIENTS.md"))
	require.NoError(t, err)
	missing := map[string]bool{}
	for _, name := range testPattern.FindAllString(string(page), -1) {
		missing[name] = true
	}
	require.NotEmpty(t, missing)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for name := range missing {
			if strings.Contains(string(text), "func "+name+"(t *testing.T)") {
				delete(missing, name)
			}
		}
		return err
	}))
	require.Empty(t, missing)
}
