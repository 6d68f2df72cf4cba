package helm

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
)

const (
	// maxWait is the longest wait that a client may ask for.
	maxWait = api.MaxPollWaitSeconds * time.Second
	// answering is the least time between the end of a wait and the timeout of the load balancer.
	answering = 5 * time.Second
)

// chain are the timeouts on the path of a poll, and at the end of the process that answers it.
type chain struct {
	PollWait, MaxWait               time.Duration
	Read, KeepAlive                 time.Duration // the load balancer's
	Idle, LameDuck, Drain, Shutdown time.Duration
	PreStop, Grace                  time.Duration
}

func (c chain) holds(t *testing.T, what string) {
	t.Helper()
	require.LessOrEqual(t, c.PollWait, c.MaxWait, what)
	require.LessOrEqual(t, c.MaxWait+answering, c.Read, "%s: the load balancer cuts polls that wait", what)
	require.Less(t, c.Read, c.Shutdown, "%s: the process cuts requests that the load balancer waits for", what)
	require.LessOrEqual(t, c.LameDuck+c.Drain+c.Read, c.Shutdown, "%s: the process cuts requests that the load balancer waits for", what)
	require.Less(t, c.PreStop+c.Shutdown, c.Grace, "%s: the kubelet kills what is still stopping", what)
	require.Less(t, c.PreStop+c.LameDuck+c.Drain, c.Grace, "%s: the kubelet kills what is still draining", what)
	require.Less(t, c.KeepAlive, c.Idle, "%s: the service closes idle connections first", what)
	require.GreaterOrEqual(t, c.PreStop+c.LameDuck, 5*time.Second, "%s: the load balancer has not noticed", what)
}

// seconds returns a time from the environment; if it is not set, the service's default.
func seconds(t *testing.T, component string, environ map[string]string, name string) time.Duration {
	t.Helper()
	text, set := environ[name]
	for _, v := range config.Variables(configuration(component)) {
		if v.Name == name && !set {
			text, set = v.Default, true
		}
	}
	if !set && (name == "DRAIN_TIME" || name == "POLL_WAIT") {
		return 0 // a service without polls
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "%s: %s", component, name)
	return d
}

// ofProcess is the part of the chain that a service's settings determine.
func ofProcess(t *testing.T, component string, environ map[string]string) chain {
	t.Helper()
	get := func(name string) time.Duration { return seconds(t, component, environ, name) }
	return chain{
		PollWait: get("POLL_WAIT"), MaxWait: maxWait, Idle: get("IDLE_TIMEOUT"),
		LameDuck: get("LAME_DUCK"), Drain: get("DRAIN_TIME"), Shutdown: get("SHUTDOWN_TIMEOUT"),
	}
}

// haproxy are the timeouts of deploy/lb/haproxy.cfg, by name. None appears twice: a section could override it.
func haproxy(t *testing.T) map[string]time.Duration {
	t.Helper()
	text, err := os.ReadFile("../lb/haproxy.cfg")
	require.NoError(t, err)
	found := map[string]time.Duration{}
	for _, m := range regexp.MustCompile(`(?m)^\s*timeout\s+(\S+)\s+(\S+)\s*$`).FindAllStringSubmatch(string(text), -1) {
		require.NotContains(t, found, m[1], "twice")
		if found[m[1]], err = time.ParseDuration(m[2]); err != nil {
			t.Fatal(err)
		}
	}
	require.NotEmpty(t, found)
	return found
}

func withHAProxy(t *testing.T, c chain) chain {
	t.Helper()
	lb := haproxy(t)
	require.Equal(t, lb["client"], lb["server"], "a poll waits on both sides")
	c.Read, c.KeepAlive = lb["server"], lb["http-keep-alive"]
	return c
}

// composed is the part of docker-compose.yml that the chain needs.
type composed struct {
	Services map[string]struct {
		Build           struct{ Target string }
		StopGracePeriod string `json:"stop_grace_period"`
		Environment     map[string]string
	}
}

func compose(t *testing.T) map[string]chain {
	t.Helper()
	text, err := os.ReadFile("../../docker-compose.yml")
	require.NoError(t, err)
	var file composed
	require.NoError(t, yaml.Unmarshal(text, &file))
	chains := map[string]chain{}
	for name, s := range file.Services {
		if configuration(s.Build.Target) == nil {
			continue
		}
		c := withHAProxy(t, ofProcess(t, s.Build.Target, s.Environment))
		c.Grace, err = time.ParseDuration(s.StopGracePeriod)
		require.NoError(t, err, name)
		chains[name] = c
	}
	require.Len(t, chains, 8)
	return chains
}

func TestTheTimeoutsOfDockerComposeFitTogether(t *testing.T) {
	for name, c := range compose(t) {
		c.holds(t, name)
	}
}

// TestTheDefaultsOfTheServicesFitTheLoadBalancer, except for PreStop and Grace, which depend on what runs the service.
func TestTheDefaultsOfTheServicesFitTheLoadBalancer(t *testing.T) {
	for _, component := range components() {
		c := withHAProxy(t, ofProcess(t, component, nil))
		c.PreStop, c.Grace = 5*time.Second, c.Shutdown+10*time.Second
		c.holds(t, component)
	}
}

// deployed is the part of the chain that the chart sets for a service.
func deployed(t *testing.T, r *release, component string) chain {
	t.Helper()
	d := named[*appsv1.Deployment](t, r, fullname+"-"+component)
	p := pod{d.Name, d.Spec.Template.ObjectMeta, d.Spec.Template.Spec}
	c := ofProcess(t, component, environment(t, r, p))
	c.Grace = time.Duration(*p.spec.TerminationGracePeriodSeconds) * time.Second
	if l := p.spec.Containers[0].Lifecycle; l != nil {
		c.PreStop = time.Duration(l.PreStop.Sleep.Seconds) * time.Second
	}
	return c
}

// readTimeout reads the annotation of each controller that the chart supports.
func readTimeout(t *testing.T, annotations map[string]string) time.Duration {
	t.Helper()
	for name, prefix := range map[string]string{
		"haproxy.org/timeout-server": "", "nginx.org/proxy-read-timeout": "", "nginx.ingress.kubernetes.io/proxy-read-timeout": "",
		"alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=",
	} {
		if value, ok := annotations[name]; ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(value, prefix), "s"))
			require.NoError(t, err, name)
			return time.Duration(n) * time.Second
		}
	}
	t.Fatalf("no read timeout in %v", annotations)
	return 0
}

// TestTheTimeoutsOfTheChartFitTogether behind each supported Ingress controller, and behind Envoy Gateway.
func TestTheTimeoutsOfTheChartFitTogether(t *testing.T) {
	keepAlive := map[string]time.Duration{"haproxy": 0, "nginx": time.Minute, "ingress-nginx": time.Minute}
	for _, controller := range []string{"haproxy", "nginx", "ingress-nginx", "alb"} {
		t.Run(controller, func(t *testing.T) {
			r, err := newRelease(parseValues(t, fmt.Sprintf(`{ingress: {enabled: true, controller: %s, hosts: [a.example]}}`, controller)))
			require.NoError(t, err)
			for _, component := range components() {
				c := deployed(t, r, component)
				c.Read = readTimeout(t, of[*networkingv1.Ingress](r)[0].Annotations)
				c.KeepAlive = keepAlive[controller]
				if controller == "alb" {
					c.KeepAlive = c.Read
				}
				c.holds(t, component)
			}
		})
	}
	t.Run("what an ALB asks and sends to is there", func(t *testing.T) {
		r, err := newRelease(parseValues(t, `{ingress: {enabled: true, controller: alb, hosts: [a.example]}}`))
		require.NoError(t, err)
		annotations := of[*networkingv1.Ingress](r)[0].Annotations
		require.Equal(t, "ip", annotations["alb.ingress.kubernetes.io/target-type"], "the Services have no node ports")
		require.Equal(t, "/api/health", annotations["alb.ingress.kubernetes.io/healthcheck-path"], "there is nothing at /")
	})
	t.Run("Envoy Gateway", func(t *testing.T) {
		r, err := caseRelease("gateway-api")
		require.NoError(t, err)
		policies := of[*egv1a1.BackendTrafficPolicy](r)
		for i, route := range of[*gatewayv1.HTTPRoute](r) {
			require.EqualValues(t, route.Name, policies[i].Spec.TargetRefs[0].Name)
			for _, rule := range route.Spec.Rules {
				c := deployed(t, r, strings.TrimPrefix(string(rule.BackendRefs[0].Name), fullname+"-"))
				c.Read = routeTimeout(t, rule, c)
				c.KeepAlive, err = time.ParseDuration(string(*policies[i].Spec.Timeout.HTTP.ConnectionIdleTimeout))
				require.NoError(t, err)
				c.holds(t, string(rule.BackendRefs[0].Name))
			}
		}
	})
}

// TestAnEventSourceIsToldToComeBackWhileNoGatewayIsThere: any status but 200 would end it for ever. What nginx and HAProxy make of the
// snippets is tested in deploy/test/networks.
func TestAnEventSourceIsToldToComeBackWhileNoGatewayIsThere(t *testing.T) {
	t.Run("Envoy Gateway", func(t *testing.T) {
		r, err := caseRelease("gateway-api")
		require.NoError(t, err)
		all, streams := of[*egv1a1.BackendTrafficPolicy](r)[0], of[*egv1a1.BackendTrafficPolicy](r)[1]
		require.Empty(t, all.Spec.ResponseOverride, "a poll is told the truth")
		require.Len(t, streams.Spec.ResponseOverride, 1)
		o := streams.Spec.ResponseOverride[0]
		require.Equal(t, &egv1a1.StatusCodeRange{Start: 502, End: 504}, o.Match.StatusCodes[0].Range)
		require.Equal(t, 200, *o.Response.StatusCode)
		require.Equal(t, "text/event-stream", *o.Response.ContentType)
		require.Equal(t, "retry: 4000\n\n", *o.Response.Body.Inline)
		route := of[*gatewayv1.HTTPRoute](r)[1]
		require.EqualValues(t, route.Name, streams.Spec.TargetRefs[0].Name)
		require.Equal(t, "/api/messages/stream", *route.Spec.Rules[0].Matches[0].Path.Value)
	})
	for controller, names := range map[string][]string{
		"haproxy":       {"haproxy.org/backend-config-snippet"},
		"nginx":         {"nginx.org/location-snippets", "nginx.org/server-snippets"},
		"ingress-nginx": {"nginx.ingress.kubernetes.io/configuration-snippet", "nginx.ingress.kubernetes.io/server-snippet"},
	} {
		t.Run(controller, func(t *testing.T) {
			for _, on := range []bool{true, false} {
				values := fmt.Sprintf(`{ingress: {enabled: true, controller: %s, snippets: %t, hosts: [a.example]}}`, controller, on)
				r, err := newRelease(parseValues(t, values))
				require.NoError(t, err)
				for _, name := range names {
					text, there := of[*networkingv1.Ingress](r)[0].Annotations[name]
					require.Equal(t, on, there && text != "", name)
				}
			}
		})
	}
}

// routeTimeout is the timeout of an HTTPRoute rule. Only a rule for streams, which the process ends, has no bound.
func routeTimeout(t *testing.T, rule gatewayv1.HTTPRouteRule, c chain) time.Duration {
	t.Helper()
	require.Equal(t, rule.Timeouts.Request, rule.Timeouts.BackendRequest)
	d, err := time.ParseDuration(string(*rule.Timeouts.Request))
	require.NoError(t, err)
	if d == 0 {
		require.Len(t, rule.Matches, 1)
		require.Equal(t, "/api/messages/stream", *rule.Matches[0].Path.Value)
		return c.Shutdown - c.LameDuck - c.Drain
	}
	return d
}

// wholeSeconds parses a value of the chart.
func wholeSeconds(t *testing.T, value any) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(fmt.Sprint(value) + "s")
	require.NoError(t, err)
	return d
}

// TestTheTimeoutsOfEveryCaseFitTogether checks values that change all of them.
func TestTheTimeoutsOfEveryCaseFitTogether(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		values, err := readValues(cases()[strings.TrimPrefix(t.Name(), "TestTheTimeoutsOfEveryCaseFitTogether/")])
		require.NoError(t, err)
		for _, component := range components() {
			c := deployed(t, r, component)
			c.Read, c.KeepAlive = 75*time.Second, time.Minute
			if own, ok := values["timeouts"].(map[string]any); ok && own["route"] != nil {
				c.MaxWait = wholeSeconds(t, own["maxPollWait"])
				c.Read = wholeSeconds(t, own["route"])
				c.KeepAlive = wholeSeconds(t, own["loadBalancerIdle"])
			}
			c.holds(t, component)
		}
	})
}

// TestThePageOfTimeoutsSaysWhatIsSet, in each of its columns.
func TestThePageOfTimeoutsSaysWhatIsSet(t *testing.T) {
	text, err := os.ReadFile("../TIMEOUTS.md")
	require.NoError(t, err)
	r, err := newRelease(map[string]any{})
	require.NoError(t, err)
	chart := deployed(t, r, "poll-gateway")
	values, err := readValues(chartDir + "/values.yaml")
	require.NoError(t, err)
	own := values["timeouts"].(map[string]any)
	chart.Read, chart.KeepAlive = wholeSeconds(t, own["route"]), wholeSeconds(t, own["loadBalancerIdle"])
	columns := []chain{withHAProxy(t, ofProcess(t, "poll-gateway", nil)), compose(t)["poll-gateway-1"], chart}
	rows := map[string]string{
		"PollWait": "a poll waits, if", "MaxWait": "a poll waits at most", "Read": "the load balancer waits", "KeepAlive": "it keeps an idle",
		"Idle": "the service keeps", "PreStop": "before SIGTERM", "LameDuck": "unready", "Drain": "the waiting polls are", "Shutdown": "bound on", "Grace": "until SIGKILL",
	}
	for field, begins := range rows {
		m := regexp.MustCompile(`(?m)^\| ` + begins + `[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$`).FindStringSubmatch(string(text))
		require.Len(t, m, 4, begins)
		for i, c := range columns {
			want := time.Duration(reflect.ValueOf(c).FieldByName(field).Int())
			cell := strings.TrimSpace(m[i+1])
			if cell == "" {
				cell = "0s"
			}
			got, err := time.ParseDuration(cell)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s, column %d", begins, i+1)
		}
	}
}
