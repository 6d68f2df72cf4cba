package catalogue_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
	"github.com/sealpost/sealpost/deploy/prometheus/rules"
	"github.com/sealpost/sealpost/pkg/config"
	authapp "github.com/sealpost/sealpost/services/auth/app"
	keysapp "github.com/sealpost/sealpost/services/keys/app"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
	standaloneapp "github.com/sealpost/sealpost/services/standalone/app"
)

// pages are the operator's guide and the runbooks, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../runbooks/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	texts := map[string]string{}
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[filepath.Base(file)] = string(text)
	}
	return texts
}

// metricPattern excludes the parts of a recording rule's name after a colon.
var metricPattern = regexp.MustCompile(`(?:^|[^:a-z_])(sealpost_[a-z0-9_]+)`)

func TestEveryMetricThatAPageNamesIsThere(t *testing.T) {
	table, err := catalogue.Read("../../METRICS.md")
	require.NoError(t, err)
	for name, text := range pages(t) {
		for _, match := range metricPattern.FindAllStringSubmatch(text, -1) {
			if _, there := table[match[1]]; !there {
				require.NoError(t, table.CheckQuery(match[1], nil), name)
			}
		}
	}
}

// promqlPattern matches a block of queries, one a line.
var promqlPattern = regexp.MustCompile("(?s)```promql\n(.*?)\n```")

func TestEveryQueryOfTheGuideAsksForWhatIsThere(t *testing.T) {
	table, err := catalogue.Read("../../METRICS.md")
	require.NoError(t, err)
	groups, err := rules.Load()
	require.NoError(t, err)
	blocks := promqlPattern.FindAllStringSubmatch(pages(t)["README.md"], -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		for query := range strings.SplitSeq(block[1], "\n") {
			require.NoError(t, table.CheckQuery(query, rules.Recorded(groups)))
		}
	}
}

func TestEveryAlertThatTheGuideNamesIsThere(t *testing.T) {
	groups, err := rules.Load()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Rules {
			known[r.Alert] = true
		}
	}
	named := regexp.MustCompile(`\bSealpost[A-Z]\w+`).FindAllString(pages(t)["README.md"], -1)
	require.NotEmpty(t, named)
	for _, alert := range named {
		require.True(t, known[alert], alert)
	}
}

// settings are the variables that any of the processes reads.
func settings() map[string]bool {
	known := map[string]bool{"GOMEMLIMIT": true, "GOGC": true}
	for _, cfg := range []any{
		&authapp.Process{}, &keysapp.Process{}, &messagesapp.Process{}, &gatewayapp.Process{}, &standaloneapp.Config{},
	} {
		for _, v := range config.Variables(cfg) {
			known[v.Name] = true
			if v.Secret {
				known[v.Name+"_FILE"] = true
			}
		}
	}
	return known
}

// ofThePages are words in capitals that are not settings: variables of shell commands, placeholders, and terms of other software.
func ofThePages() []string {
	return []string{
		"NAMESPACE", "MONGODB_NAMESPACE", "REDIS_NAMESPACE", "NATS_NAMESPACE", // where things run
		"POD", "PID", "HOST", "SERVICE", "GATEWAY", "LATEST", "FOLDER", "FILE", // placeholders
		"AF_INET", "AF_INET6", "AF_UNIX", "READONLY", // terms of other software
		"REDIS_ADMIN_URL", "MONGODB_ADMIN_URI", // of the operator of the engines
		"BENCH_RUNS", // of make
	}
}

var (
	settingPattern = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)
	wordPattern    = regexp.MustCompile("`([A-Z]{3,})`")
)

func TestEverySettingThatAPageNamesIsThere(t *testing.T) {
	known := settings()
	for name, text := range pages(t) {
		words := settingPattern.FindAllString(text, -1)
		for _, match := range wordPattern.FindAllStringSubmatch(text, -1) {
			words = append(words, match[1])
		}
		for _, word := range words {
			require.True(t, known[word] || slices.Contains(ofThePages(), word), "%s names %s", name, word)
		}
	}
}
