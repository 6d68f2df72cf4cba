package compose

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/password"
	authapp "github.com/sealpost/sealpost/services/auth/app"
	keysapp "github.com/sealpost/sealpost/services/keys/app"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

const top = "../.."

// configurations are the configuration types of our services, by the target of their image.
func configurations() map[string]any {
	return map[string]any{
		"auth": &authapp.Process{}, "keys": &keysapp.Process{}, "messages": &messagesapp.Process{}, "poll-gateway": &gatewayapp.Process{},
	}
}

// project is docker-compose.yml as Compose reads it; what Compose's schema does not know is an error.
func project(t *testing.T) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{filepath.Join(top, "docker-compose.yml")}, cli.WithWorkingDirectory(top))
	require.NoError(t, err)
	p, err := o.LoadProject(context.Background())
	require.NoError(t, err)
	return p
}

// ours are the services that run our images, by name, with the target of the image.
func ours(p *types.Project) map[string]string {
	found := map[string]string{}
	for name, s := range p.Services {
		if s.Build != nil {
			found[name] = s.Build.Target
		}
	}
	return found
}

func TestThereAreTwoOfEachServiceAndAllThatTheyNeed(t *testing.T) {
	p := project(t)
	count := map[string]int{}
	for _, target := range ours(p) {
		count[target]++
	}
	require.Equal(t, map[string]int{"auth": 2, "keys": 2, "messages": 2, "poll-gateway": 2}, count)
	for _, name := range []string{"haproxy", "mongo", "redis", "nats", "prometheus", "grafana"} {
		require.Contains(t, p.Services, name)
	}
	require.Contains(t, p.Services["mongo"].Command, "--replSet")
	require.Contains(t, strings.Join(p.Services["redis"].Command, " "), "--appendonly yes")
}

func TestEachServiceKnowsTheVariablesItIsGivenAndHasThoseItNeeds(t *testing.T) {
	p := project(t)
	for name, target := range ours(p) {
		environ := p.Services[name].Environment
		known := map[string]bool{}
		for _, v := range config.Variables(configurations()[target]) {
			known[v.Name] = true
			if v.Secret {
				known[v.Name+"_FILE"] = true
			}
			if v.Required {
				given := environ[v.Name] != nil || environ[v.Name+"_FILE"] != nil
				require.True(t, given, "%s needs %s", name, v.Name)
			}
		}
		for variable := range environ {
			require.True(t, known[variable], "%s does not know %s", name, variable)
		}
	}
}

// TestEachServiceTakesItsConfiguration loads it as the service does when it starts, with a key in place of the secret.
func TestEachServiceTakesItsConfiguration(t *testing.T) {
	p := project(t)
	key := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(key, signingKey(t), 0o600))
	for name, target := range ours(p) {
		environ := []string{}
		for variable, value := range p.Services[name].Environment {
			if *value == "/run/secrets/jwt-signing-key" {
				require.Equal(t, "jwt-signing-key", p.Services[name].Secrets[0].Source)
				value = &key
			}
			environ = append(environ, variable+"="+*value)
		}
		require.NoError(t, config.Load(configurations()[target], environ), name)
	}
}

// host is the host part of an address in a value.
var host = regexp.MustCompile(`(?:^|://)([a-z][a-z0-9-]*):\d`)

func TestEveryHostIsAServiceThatCanBeReached(t *testing.T) {
	p := project(t)
	seen := 0
	for name, s := range p.Services {
		for variable, value := range s.Environment {
			if value == nil {
				continue
			}
			for _, m := range host.FindAllStringSubmatch(*value, -1) {
				seen++
				require.True(t, reaches(p, s, m[1]), "%s: no service %q for %s on any of its networks", name, m[1], variable)
			}
		}
	}
	require.Greater(t, seen, 30)
}

// reaches reports whether a service shares a network with one of that name or alias.
func reaches(p *types.Project, from types.ServiceConfig, name string) bool {
	for _, to := range p.Services {
		for network, options := range to.Networks {
			_, common := from.Networks[network]
			named := to.Name == name || (options != nil && slices.Contains(options.Aliases, name))
			if common && named {
				return true
			}
		}
	}
	return false
}

// TestTheLoadBalancerIsToldAllThatItsConfigurationAsks: the variables are exactly those that its configuration uses.
func TestTheLoadBalancerIsToldAllThatItsConfigurationAsks(t *testing.T) {
	p := project(t)
	text, err := os.ReadFile(filepath.Join(top, "deploy/lb/haproxy.cfg"))
	require.NoError(t, err)
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(string(text), -1) {
		asked[m[1]] = true
	}
	given := p.Services["haproxy"].Environment
	for variable := range asked {
		require.Contains(t, given, variable)
	}
	for variable, value := range given {
		require.True(t, asked[variable], "%s is asked nowhere", variable)
		if prefix, isAdmin := strings.CutSuffix(variable, "_ADMIN"); isAdmin {
			require.Equal(t, "9301", *value, variable)
			require.Equal(t, strings.ToLower(strings.ReplaceAll(prefix, "_", "-"))+":3000", strings.ReplaceAll(*given[prefix], "_", "-"))
		}
	}
}

func TestEveryServiceTellsWhetherItIsHealthy(t *testing.T) {
	p := project(t)
	images := dockerfile(t)
	for name, s := range p.Services {
		if s.Build == nil {
			require.NotNil(t, s.HealthCheck, name)
			require.Equal(t, "CMD", s.HealthCheck.Test[0], name)
			require.False(t, s.HealthCheck.Disable)
			continue
		}
		require.Equal(t, []string{"/" + s.Build.Target, "healthcheck"}, images[s.Build.Target].health, name)
	}
	for name, s := range p.Services {
		for needed, condition := range s.DependsOn {
			require.Contains(t, p.Services, needed)
			if s.Build != nil {
				require.Equal(t, types.ServiceConditionHealthy, condition.Condition, name)
			}
		}
	}
}

func TestWhatIsMountedIsThere(t *testing.T) {
	p := project(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeBind:
				_, err := os.Stat(v.Source)
				require.NoError(t, err, name)
				require.True(t, v.ReadOnly, "%s may write to %s", name, v.Source)
			case types.VolumeTypeVolume:
				require.Contains(t, p.Volumes, v.Source, name)
			default:
				t.Errorf("%s mounts %s as %s", name, v.Source, v.Type)
			}
		}
	}
}

// Ports that are not for clients are published only on the machine's loopback address.
func TestNothingIsPublishedButTheLoadBalancerAndOnThisMachineTheMonitoring(t *testing.T) {
	p := project(t)
	published := map[string]string{}
	used := map[string]string{}
	for name, s := range p.Services {
		for _, port := range s.Ports {
			published[name] = strings.TrimPrefix(port.HostIP+":"+port.Published, ":")
			require.Empty(t, used[port.Published], "the port of %s", name)
			used[port.Published] = name
		}
	}
	require.Equal(t, map[string]string{"haproxy": "3000", "prometheus": "127.0.0.1:9090", "grafana": "127.0.0.1:3030"}, published)
	for _, network := range []string{"services", "engines"} {
		require.True(t, p.Networks[network].Internal, network)
	}
	for _, engine := range []string{"mongo", "redis", "nats"} {
		require.Len(t, p.Services[engine].Networks, 1, engine)
		require.Contains(t, p.Services[engine].Networks, "engines")
	}
}

// TestHashingFitsTheMemory of the containers, on however many cores.
func TestHashingFitsTheMemory(t *testing.T) {
	p := project(t)
	for _, name := range []string{"auth-1", "auth-2", "keys-1", "keys-2"} {
		var environ []string
		for variable, value := range p.Services[name].Environment {
			if value != nil && strings.HasPrefix(variable, "ARGON2_") {
				environ = append(environ, variable+"="+*value)
			}
		}
		var hashing password.Settings
		require.NoError(t, config.Load(&hashing, environ))
		require.Positive(t, hashing.Workers, name)
		require.LessOrEqual(t, int64(hashing.Workers)*int64(hashing.Memory), int64(p.Services[name].MemLimit)/4*3, name)
	}
}

// TestNobodyLogsInToGrafana: not by the account admin, whose first password is known to everybody, and not over its API either.
func TestNobodyLogsInToGrafana(t *testing.T) {
	environ := project(t).Services["grafana"].Environment
	for variable, want := range map[string]string{
		"GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer", "GF_AUTH_DISABLE_LOGIN_FORM": "true", "GF_AUTH_BASIC_ENABLED": "false",
		"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
	} {
		require.NotNil(t, environ[variable], variable)
		require.Equal(t, want, *environ[variable], variable)
	}
}

// TestTheSigningKeyIsForTheContainersUserAlone, as the pages say how to make it.
func TestTheSigningKeyIsForTheContainersUserAlone(t *testing.T) {
	dockerfile, err := os.ReadFile("../docker/Dockerfile")
	require.NoError(t, err)
	user := regexp.MustCompile(`(?m)^USER (\d+):`).FindSubmatch(dockerfile)
	require.NotNil(t, user)
	for _, page := range []string{"../README.md", "../../docker-compose.yml"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		require.Contains(t, string(text), "install -D -m 400 -o "+string(user[1])+" /dev/stdin secrets/jwt-signing-key.pem", page)
	}
}

func TestServicesMayDoNoMoreThanTheyMust(t *testing.T) {
	p := project(t)
	for name := range ours(p) {
		s := p.Services[name]
		require.True(t, s.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		require.False(t, s.Privileged, name)
		require.Positive(t, s.MemLimit, name)
		for variable := range s.Environment {
			require.NotContains(t, []string{"JWT_SIGNING_KEY", "SERVER_KEY"}, variable, "%s: a secret in the environment, which `docker inspect` shows", name)
		}
	}
	for name, s := range p.Services {
		require.Regexp(t, `^(sealpost/[a-z-]+|.+:v?\d+\.\d+.*)$`, s.Image, "%s: an image without a version", name)
	}
}
