package helm

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// policiesOf are the NetworkPolicies that select a pod.
func policiesOf(t *testing.T, r *release, p pod) []*networkingv1.NetworkPolicy {
	t.Helper()
	var found []*networkingv1.NetworkPolicy
	for _, n := range of[*networkingv1.NetworkPolicy](r) {
		if selects(t, &n.Spec.PodSelector, p) {
			found = append(found, n)
		}
	}
	return found
}

// TestEveryPodHasANetworkPolicyThatDeniesWhatItDoesNotName in both directions.
func TestEveryPodHasANetworkPolicyThatDeniesWhatItDoesNotName(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		if len(of[*networkingv1.NetworkPolicy](r)) == 0 {
			require.Contains(t, t.Name(), "everything-off")
			return
		}
		for _, p := range r.pods() {
			policies := policiesOf(t, r, p)
			require.Len(t, policies, 1, p.owner)
			require.ElementsMatch(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, policies[0].Spec.PolicyTypes)
		}
		for _, n := range of[*networkingv1.NetworkPolicy](r) {
			for _, rule := range n.Spec.Ingress {
				require.NotEmpty(t, rule.Ports, "%s opens all ports", n.Name)
			}
			for _, rule := range n.Spec.Egress {
				require.NotEmpty(t, rule.Ports, "%s opens all ports", n.Name)
			}
		}
	})
}

// allowed reports whether rules allow a connection between two pods of the release, only by the labels of the peer.
func allowed(t *testing.T, ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, port int32, other pod) bool {
	t.Helper()
	if !slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return *p.Port == intstr.FromInt32(port) }) {
		return false
	}
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		return p.PodSelector != nil && p.NamespaceSelector == nil && selects(t, p.PodSelector, other)
	})
}

// reaches reports whether a pod may open a connection to a port of another: the policies of both have to allow it.
func reaches(t *testing.T, r *release, from, to pod, port int32) bool {
	t.Helper()
	out, in := false, false
	for _, n := range policiesOf(t, r, from) {
		for _, rule := range n.Spec.Egress {
			out = out || allowed(t, rule.Ports, rule.To, port, to)
		}
	}
	for _, n := range policiesOf(t, r, to) {
		for _, rule := range n.Spec.Ingress {
			in = in || allowed(t, rule.Ports, rule.From, port, from)
		}
	}
	return out && in
}

// TestPodsReachWhatTheyNeedAndNothingElse checks each pair of pods and each port.
func TestPodsReachWhatTheyNeedAndNothingElse(t *testing.T) {
	all := slices.Collect(maps.Values(components()))
	engines := map[string]int32{"dev-mongodb": 27017, "dev-redis": 6379, "dev-nats": 4222}
	each(t, func(t *testing.T, r *release) {
		if len(of[*networkingv1.NetworkPolicy](r)) == 0 {
			return
		}
		for _, from := range r.pods() {
			for _, to := range r.pods() {
				isService := slices.Contains(all, from.component())
				for _, port := range []int32{3000, 9301, 27017, 6379, 4222} {
					want := false
					switch {
					case port == 3000 && to.component() == "auth":
						want = (isService && from.component() != "auth") || from.component() == "test"
					case port == 3000 && slices.Contains(all, to.component()):
						want = from.component() == "test"
					case engines[to.component()] == port:
						want = isService || from.component() == to.component()
					}
					require.Equal(t, want, reaches(t, r, from, to, port), "%s to %s, port %d", from.owner, to.owner, port)
				}
			}
		}
	})
}

func TestEverybodyMayAskForNamesAndTheServicesReachTheirEngines(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, n := range of[*networkingv1.NetworkPolicy](r) {
			open := map[int32]corev1.Protocol{}
			for _, rule := range n.Spec.Egress {
				for _, p := range rule.Ports {
					open[p.Port.IntVal] = *p.Protocol
				}
			}
			require.Contains(t, open, int32(53), n.Name)
			component := n.Labels["app.kubernetes.io/component"]
			if slices.Contains(slices.Collect(maps.Values(components())), component) {
				for _, port := range []int32{27017, 6379, 4222} {
					require.Contains(t, open, port, n.Name)
				}
			}
		}
	})
}

// TestTheCollectorOfTracesIsReachedIfThereIsOne, and its port is closed without one.
func TestTheCollectorOfTracesIsReachedIfThereIsOne(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			isService := slices.Contains(slices.Collect(maps.Values(components())), p.component()) // the Job sends no traces
			if !isService || len(of[*networkingv1.NetworkPolicy](r)) == 0 {
				continue
			}
			open := false
			for _, rule := range policiesOf(t, r, p)[0].Spec.Egress {
				open = open || *rule.Ports[0].Port == intstr.FromInt32(4318)
			}
			require.Equal(t, environment(t, r, p)["OTEL_EXPORTER_OTLP_ENDPOINT"] != "", open, p.owner)
		}
	})
}

func TestOnlyMonitoringReachesTheAdminPort(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, n := range of[*networkingv1.NetworkPolicy](r) {
			for _, rule := range n.Spec.Ingress {
				for _, p := range rule.Ports {
					if p.Port.IntVal == 9301 {
						require.NotEmpty(t, rule.From, "%s: everybody", n.Name)
						require.Len(t, rule.Ports, 1, n.Name)
					}
				}
			}
		}
		for _, i := range of[*networkingv1.Ingress](r) {
			for _, rule := range i.Spec.Rules {
				for _, p := range rule.HTTP.Paths {
					require.NotContains(t, []string{"/metrics", "/debug", "/readyz", "/livez", "/"}, p.Path)
				}
			}
		}
	})
}

// wanted says which service answers which path.
func wanted() map[string]string {
	return map[string]string{
		"/api/auth/login": "auth", "/.well-known/jwks.json": "auth", "/api/auth/verify": "auth",
		"/api/keys/user/alice": "keys", "/api/keys/server-public": "keys", "/api/users/update-key": "keys",
		"/api/messages/send": "messages", "/api/messages/history": "messages", "/api/messages/0190/read": "messages",
		"/api/messages/status": "messages", "/api/health": "messages", "/api/openapi.yaml": "messages",
		"/api/messages/poll": "poll-gateway", "/api/messages/stream": "poll-gateway",
		"/metrics": "", "/debug/pprof/": "", "/readyz": "", "/api/messagesx": "", "/": "",
	}
}

// route is one path of an Ingress or an HTTPRoute.
type route struct {
	path    string
	exact   bool
	service string
	port    int32
}

// answers returns the route of a request: an exact match first, then the longest prefix.
func answers(routes []route, path string) route {
	var best route
	for _, r := range routes {
		matches := path == r.path || (!r.exact && len(path) > len(r.path) && path[:len(r.path)+1] == r.path+"/")
		if matches && (r.exact || len(r.path) > len(best.path)) {
			best = r
		}
	}
	return best
}

func TestEachPathComesToTheServiceThatAnswersIt(t *testing.T) {
	seen := 0
	each(t, func(t *testing.T, r *release) {
		for _, routes := range [][]route{ingressRoutes(r), httpRoutes(r)} {
			if len(routes) == 0 {
				continue
			}
			seen++
			for path, component := range wanted() {
				got := answers(routes, path)
				if component == "" {
					require.Empty(t, got, path)
					continue
				}
				require.Equal(t, fullname+"-"+component, got.service, path)
				require.Equal(t, named[*corev1.Service](t, r, got.service).Spec.Ports[0].Port, got.port, path)
			}
		}
	})
	require.GreaterOrEqual(t, seen, 3)
}

func ingressRoutes(r *release) []route {
	var all []route
	for _, i := range of[*networkingv1.Ingress](r) {
		for _, p := range i.Spec.Rules[0].HTTP.Paths {
			all = append(all, route{p.Path, *p.PathType == networkingv1.PathTypeExact, p.Backend.Service.Name, p.Backend.Service.Port.Number})
		}
	}
	return all
}

func httpRoutes(r *release) []route {
	var all []route
	for _, h := range of[*gatewayv1.HTTPRoute](r) {
		for _, rule := range h.Spec.Rules {
			to := rule.BackendRefs[0]
			for _, m := range rule.Matches {
				all = append(all, route{*m.Path.Value, *m.Path.Type == gatewayv1.PathMatchExact, string(to.Name), *to.Port})
			}
		}
	}
	return all
}
