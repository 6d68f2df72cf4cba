package compose

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/token"
)

func signingKey(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	return text
}

// image is a target of the Dockerfile, with what it inherits from its base targets.
type image struct {
	base             string
	user             string
	health           []string
	entrypoint       []string
	copied, commands []string
}

// dockerfile parses the Dockerfile as BuildKit does.
func dockerfile(t *testing.T) map[string]image {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "deploy/docker/Dockerfile"))
	require.NoError(t, err)
	parsed, err := parser.Parse(bytes.NewReader(text))
	require.NoError(t, err)
	var complaints []string
	stages, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{
		Warn: func(rule, _, _, message string, _ []parser.Range) { complaints = append(complaints, rule+": "+message) },
	}))
	require.NoError(t, err)
	require.Empty(t, complaints)
	images := map[string]image{}
	for _, stage := range stages {
		i := images[stage.BaseName]
		if i.base == "" {
			i.base = stage.BaseName
		}
		for _, command := range stage.Commands {
			i.add(command)
		}
		images[stage.Name] = i
	}
	return images
}

func (i *image) add(command instructions.Command) {
	switch c := command.(type) {
	case *instructions.UserCommand:
		i.user = c.User
	case *instructions.HealthCheckCommand:
		i.health = c.Health.Test[1:]
	case *instructions.EntrypointCommand:
		i.entrypoint = c.CmdLine
	case *instructions.CopyCommand:
		i.copied = append(i.copied, c.DestPath)
	case *instructions.RunCommand:
		i.commands = append(i.commands, strings.Join(c.CmdLine, " "))
	}
}

func TestImagesHoldABinaryAndCertificatesAndRunAsNobody(t *testing.T) {
	images := dockerfile(t)
	for _, target := range []string{"auth", "keys", "messages", "poll-gateway", "standalone", "sealpost"} {
		i, ok := images[target]
		require.True(t, ok, target)
		require.Equal(t, "scratch", i.base, target)
		require.Equal(t, "65532:65532", i.user, target)
		require.Equal(t, []string{"/" + target}, i.entrypoint, target)
		require.Contains(t, i.copied, "/"+target)
		require.Contains(t, i.copied, "/etc/ssl/certs/ca-certificates.crt")
	}
}

// TestTheBinariesNeedNothingOfTheirImage builds them with the command of the Dockerfile: an image from scratch has no loader and no
// library. A new machine compiles for minutes, so this does not run with every test of the package.
func TestTheBinariesNeedNothingOfTheirImage(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getenv("SEALPOST_ENGINES") != "required" {
		t.Skip("runs with `make test-engines`, on Linux")
	}
	commands := dockerfile(t)["build"].commands
	command := commands[len(commands)-1]
	_, command, found := strings.Cut(command, "&& ")
	require.True(t, found)
	out := t.TempDir()
	command = strings.ReplaceAll(command, "/out/", out)
	build := exec.CommandContext(t.Context(), "sh", "-c", command)
	build.Dir = top
	build.Env = append(os.Environ(), "GOWORK=") // the image builds the workspace
	text, err := build.CombinedOutput()
	require.NoError(t, err, "%s", text)
	for target, i := range dockerfile(t) {
		if len(i.entrypoint) == 0 {
			continue
		}
		binary, err := elf.Open(filepath.Join(out, target))
		require.NoError(t, err)
		require.Nil(t, binary.Section(".interp"), target)
		libraries, err := binary.ImportedLibraries()
		require.NoError(t, err)
		require.Empty(t, libraries, target)
		require.NoError(t, binary.Close())
	}
}
