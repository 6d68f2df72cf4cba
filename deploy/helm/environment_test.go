package helm

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/keyfolder"
	authapp "github.com/sealpost/sealpost/services/auth/app"
	keysapp "github.com/sealpost/sealpost/services/keys/app"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

// secretsDir is where the secrets are mounted.
const secretsDir = "/etc/sealpost/secrets/"

// configuration is the configuration type of a service.
func configuration(component string) any {
	return map[string]any{
		"auth": &authapp.Process{}, "keys": &keysapp.Process{}, "messages": &messagesapp.Process{}, "poll-gateway": &gatewayapp.Process{},
	}[component]
}

// ofRuntime are the variables that the Go runtime reads.
func ofRuntime() []string { return []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"} }

// environment is the environment of the single container of a pod, from ConfigMaps and direct entries.
func environment(t *testing.T, r *release, p pod) map[string]string {
	t.Helper()
	environ := map[string]string{}
	for _, from := range p.spec.Containers[0].EnvFrom {
		require.Nil(t, from.SecretRef, "%s: secrets are files", p.owner)
		maps.Copy(environ, named[*corev1.ConfigMap](t, r, from.ConfigMapRef.Name).Data)
	}
	for _, v := range p.spec.Containers[0].Env {
		require.Nil(t, v.ValueFrom, p.owner)
		environ[v.Name] = v.Value
	}
	return environ
}

// program is the service whose image one of our pods runs.
func program(p pod) string { return strings.TrimPrefix(p.spec.Containers[0].Command[0], "/") }

func TestEachServiceKnowsTheVariablesItIsGivenAndHasThoseItNeeds(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			if !p.ours() {
				continue
			}
			environ := environment(t, r, p)
			known := map[string]bool{}
			for _, name := range ofRuntime() {
				known[name] = true
			}
			for _, v := range config.Variables(configuration(program(p))) {
				known[v.Name] = true
				if v.Secret {
					known[v.Name+"_FILE"] = true
					require.NotContains(t, environ, v.Name, "%s: a secret in the environment", p.owner)
				}
				if v.Required {
					require.True(t, environ[v.Name] != "" || environ[v.Name+"_FILE"] != "", "%s needs %s", p.owner, v.Name)
				}
			}
			for variable := range environ {
				require.True(t, known[variable], "%s does not know %s", p.owner, variable)
			}
		}
	})
}

// mounted are the files of the projected Secrets of a pod.
func mounted(t *testing.T, p pod) []string {
	t.Helper()
	var files []string
	for _, v := range p.spec.Volumes {
		require.NotNil(t, v.Projected, p.owner)
		require.EqualValues(t, 0o440, *v.Projected.DefaultMode, p.owner)
		for _, source := range v.Projected.Sources {
			require.NotNil(t, source.Secret, p.owner)
			require.NotEmpty(t, source.Secret.Name, p.owner)
			for _, item := range source.Secret.Items {
				files = append(files, secretsDir+item.Path)
			}
		}
	}
	return files
}

// TestSecretsComeByReferenceAlone: pods get Secrets by reference only, and each file that a variable names exists.
func TestSecretsComeByReferenceAlone(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, s := range of[*corev1.Secret](r) {
			require.Contains(t, t.Name(), "/dev", "the chart makes the Secret %s", s.Name)
		}
		for _, p := range r.pods() {
			if !p.ours() {
				continue
			}
			files := mounted(t, p)
			require.Equal(t, strings.TrimSuffix(secretsDir, "/"), p.spec.Containers[0].VolumeMounts[0].MountPath)
			require.True(t, p.spec.Containers[0].VolumeMounts[0].ReadOnly)
			for name, value := range environment(t, r, p) {
				if strings.HasSuffix(name, "_FILE") {
					require.Contains(t, files, value, "%s: %s", p.owner, name)
				}
				if name == "JWT_KEYS_DIR" {
					requireFolder(t, p, value)
				}
				require.NotRegexp(t, `://[^/]*@|PRIVATE KEY`, value, "%s: %s holds a secret", p.owner, name)
			}
		}
	})
}

// requireFolder requires that a Secret is mounted as a folder, so that files can be added to it.
func requireFolder(t *testing.T, p pod, path string) {
	t.Helper()
	for _, m := range p.spec.Containers[0].VolumeMounts {
		if m.MountPath == path {
			require.True(t, m.ReadOnly)
			require.Empty(t, m.SubPath, "it would not follow changes")
			return
		}
	}
	require.Fail(t, "nothing is mounted there", "%s: %s", p.owner, path)
}

// TestEachServiceTakesItsConfiguration loads it as the service does when it starts, with files in place of the mounted ones.
func TestEachServiceTakesItsConfiguration(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t)
	contents := map[string]string{
		"MONGODB_URI_FILE": "mongodb://db.example:27017/?replicaSet=rs0",
		"NATS_URL_FILE":    "nats://nats.example:4222",
		"REDIS_CA_FILE":    cert, "NATS_CA_FILE": cert, "REDIS_CERT_FILE": cert, "NATS_CERT_FILE": cert,
		"REDIS_KEY_FILE": key, "NATS_KEY_FILE": key,
		"OTEL_EXPORTER_OTLP_HEADERS_FILE": "authorization=Bearer%20token", "OTEL_EXPORTER_OTLP_CERTIFICATE": cert,
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, keyfolder.SigningFile), []byte(key), 0o600))
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			if !p.ours() {
				continue
			}
			var environ []string
			for name, value := range environment(t, r, p) {
				text, isFile := contents[name]
				if name == "REDIS_URL_FILE" {
					text, isFile = redisURL(environment(t, r, p)), true
				}
				if name == "JWT_KEYS_DIR" {
					value = dir
				}
				if isFile {
					value = filepath.Join(dir, name)
					require.NoError(t, os.WriteFile(value, []byte(text), 0o600))
				}
				if name != "SERVER_KEY_FILE" { // an RSA key of 4096 bits takes seconds to make
					environ = append(environ, name+"="+value)
				}
			}
			require.NoError(t, config.Load(configuration(program(p)), environ), p.owner)
		}
	})
}

// pair is a CA certificate and its private key.
func pair(t *testing.T) (cert, private string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	text, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(text)
}

// redisURL is an address in the form that the mode needs, with TLS if a CA is set.
func redisURL(environ map[string]string) string {
	url := "redis"
	if environ["REDIS_CA_FILE"] != "" {
		url = "rediss"
	}
	url += "://redis.example:6379"
	if environ["REDIS_MODE"] == "sentinel" {
		return url + "?master_name=chat"
	}
	return url
}

func TestTheDevelopmentSecretHoldsWhatThePodsMountAndAKeyThatSigns(t *testing.T) {
	r, err := caseRelease("dev")
	require.NoError(t, err)
	secret := named[*corev1.Secret](t, r, fullname+"-dev")
	_, err = token.ParsePrivateKey(secret.Data["signing.pem"])
	require.NoError(t, err)
	for _, p := range r.pods() {
		if !p.ours() {
			continue
		}
		for _, v := range p.spec.Volumes {
			for _, source := range v.Projected.Sources {
				require.Equal(t, secret.Name, source.Secret.Name)
				require.Contains(t, secret.Data, source.Secret.Items[0].Key)
			}
		}
	}
	for _, key := range []string{"mongodb-uri", "redis-url", "nats-url"} {
		engine, _, _ := strings.Cut(key, "-")
		service := named[*corev1.Service](t, r, fullname+"-dev-"+engine)
		require.Contains(t, string(secret.Data[key]), service.Name+":"+strconv.Itoa(int(service.Spec.Ports[0].Port)))
	}
}

func TestServicesFindTheKeysOfTokensAtTheAuthService(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		auth := named[*corev1.Service](t, r, fullname+"-auth")
		want := "http://" + auth.Name + ":" + strconv.Itoa(int(auth.Spec.Ports[0].Port)) + "/.well-known/jwks.json"
		for _, p := range r.pods() {
			if p.ours() && p.component() != "auth" {
				require.Equal(t, want, environment(t, r, p)["JWKS_URL"], p.owner)
			}
		}
	})
}

func TestMemoryOfGoStaysBelowTheLimitOfTheContainer(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, d := range of[*appsv1.Deployment](r) {
			p := pod{d.Name, d.Spec.Template.ObjectMeta, d.Spec.Template.Spec}
			limit := environment(t, r, p)["GOMEMLIMIT"]
			mib, err := strconv.ParseInt(strings.TrimSuffix(limit, "MiB"), 10, 64)
			require.NoError(t, err, "%s: %q", d.Name, limit)
			container := p.spec.Containers[0].Resources.Limits.Memory().Value()
			require.Less(t, mib<<20, container, d.Name)
			require.Greater(t, mib<<20, container/2, d.Name)
		}
	})
}

// ofTheChart are the variables that have their own place in values.yaml, or that the chart's own objects depend on.
func ofTheChart() []string {
	return []string{
		"PORT", "HOST", "ADMIN_ADDRESS", "IDLE_TIMEOUT", "LAME_DUCK", "SHUTDOWN_TIMEOUT", "DRAIN_TIME", "POLL_WAIT", "RETENTION",
		"REDIS_MODE", "REDIS_CA_FILE", "NATS_CREDENTIALS_FILE", "NATS_CA_FILE", "MONGODB_DATABASE", "JWKS_URL", "JWT_KEYS_DIR", "GOMEMLIMIT",
		"REDIS_CERT_FILE", "REDIS_KEY_FILE", "NATS_CERT_FILE", "NATS_KEY_FILE",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_CERTIFICATE",
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY",
	}
}

// settings are the variables of a service that `config` may contain.
func settings(component string) []string {
	names := []string{"GODEBUG", "GOGC", "GOMAXPROCS"}
	for _, v := range config.Variables(configuration(component)) {
		if !v.Secret && !slices.Contains(ofTheChart(), v.Name) {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestTheSchemaKnowsTheSettingsOfEachService and no others: a misspelt name is refused before anything is installed.
func TestTheSchemaKnowsTheSettingsOfEachService(t *testing.T) {
	common := settings("auth")
	for key, component := range components() {
		require.Equal(t, settings(component), schemaSettings(t, key, "properties", "config"), key)
		common = slices.DeleteFunc(common, func(name string) bool { return !slices.Contains(settings(component), name) })
	}
	require.Equal(t, common, schemaSettings(t, "config"))
	require.Equal(t, common, schemaSettings(t, "defaults", "properties", "config"))
}
