package helm

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func labelSet(l map[string]string) labels.Set { return l }

func TestEveryPodPassesTheRestrictedStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	each(t, func(t *testing.T, r *release) {
		require.NotEmpty(t, r.pods())
		for _, p := range r.pods() {
			results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &p.meta, &p.spec)
			all := policy.AggregateCheckResults(results)
			require.True(t, all.Allowed, "%s: %s", p.owner, all.ForbiddenDetail())
		}
	})
}

func TestEveryContainerMayDoNoMoreThanItMust(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			security := p.spec.SecurityContext
			require.NotNil(t, security, p.owner)
			require.True(t, *security.RunAsNonRoot, p.owner)
			require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, security.SeccompProfile.Type, p.owner)
			require.False(t, p.spec.HostNetwork || p.spec.HostPID || p.spec.HostIPC, p.owner)
			require.Empty(t, p.spec.InitContainers, p.owner)
			for _, c := range p.spec.Containers {
				s := c.SecurityContext
				require.NotNil(t, s, p.owner)
				require.False(t, *s.AllowPrivilegeEscalation, p.owner)
				require.True(t, *s.ReadOnlyRootFilesystem, p.owner)
				require.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, s.Capabilities, p.owner)
				require.Nil(t, s.Privileged, p.owner)
				require.Nil(t, s.RunAsNonRoot, "%s: the pod says it", p.owner)
				require.Nil(t, s.RunAsUser, "%s: the pod says it", p.owner)
			}
		}
	})
}

func TestThePodsOfTheServicesRunAsNobody(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			if user := p.spec.SecurityContext.RunAsUser; p.ours() && user != nil { // if unset, the image's user, which is the same
				require.EqualValues(t, 65532, *user, p.owner)
				require.EqualValues(t, 65532, *p.spec.SecurityContext.RunAsGroup, p.owner)
				require.EqualValues(t, 65532, *p.spec.SecurityContext.FSGroup, p.owner)
			}
		}
	})
}

func TestNoPodHasATokenOrTheAddressesOfOtherServices(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			require.False(t, *p.spec.AutomountServiceAccountToken, p.owner)
			require.False(t, *p.spec.EnableServiceLinks, p.owner)
		}
		for _, a := range of[*corev1.ServiceAccount](r) {
			require.False(t, *a.AutomountServiceAccountToken, a.Name)
		}
		for _, component := range components() {
			d := named[*appsv1.Deployment](t, r, fullname+"-"+component)
			named[*corev1.ServiceAccount](t, r, d.Spec.Template.Spec.ServiceAccountName)
		}
	})
}

func TestEveryContainerSaysWhatItNeeds(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			for _, c := range p.spec.Containers {
				require.False(t, c.Resources.Requests.Cpu().IsZero(), p.owner)
				require.False(t, c.Resources.Requests.Memory().IsZero(), p.owner)
				require.False(t, c.Resources.Limits.Memory().IsZero(), p.owner)
				require.LessOrEqual(t, c.Resources.Requests.Memory().Value(), c.Resources.Limits.Memory().Value(), p.owner)
			}
		}
	})
}

// pinned matches an image with a version or a digest.
var pinned = regexp.MustCompile(`^[a-z0-9.-]+/[a-z0-9./-]+(:v?\d+\.\d+[-.a-z0-9]*|@sha256:[0-9a-f]{64})$`)

func TestEveryImageIsPinned(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			for _, c := range p.spec.Containers {
				require.Regexp(t, pinned, c.Image, p.owner)
				require.False(t, strings.HasSuffix(c.Image, ":latest"), p.owner)
			}
		}
	})
}

func TestEachServiceIsAskedForItsHealthOnItsAdminPort(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, component := range components() {
			c := named[*appsv1.Deployment](t, r, fullname+"-"+component).Spec.Template.Spec.Containers[0]
			require.Equal(t, []string{"/" + component}, c.Command)
			for path, probes := range map[string][]*corev1.Probe{"/livez": {c.StartupProbe, c.LivenessProbe}, "/readyz": {c.ReadinessProbe}} {
				for _, probe := range probes {
					require.NotNil(t, probe, "%s: %s", component, path)
					require.Equal(t, path, probe.HTTPGet.Path, component)
					require.Equal(t, "admin", probe.HTTPGet.Port.StrVal, component)
				}
			}
			require.Equal(t, map[string]int32{"http": 3000, "admin": 9301}, portsOf(c))
		}
	})
}

func portsOf(c corev1.Container) map[string]int32 {
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	return ports
}

// TestEveryPortThatIsNamedIsThere, in probes and Services: Kubernetes accepts a name that no container has.
func TestEveryPortThatIsNamedIsThere(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			for _, c := range p.spec.Containers {
				for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
					if probe != nil && probe.HTTPGet != nil {
						require.Contains(t, portsOf(c), probe.HTTPGet.Port.StrVal, p.owner)
					}
				}
			}
		}
		for _, s := range of[*corev1.Service](r) {
			behind := 0
			for _, p := range r.pods() {
				if !selects(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, p) {
					continue
				}
				behind++
				for _, port := range s.Spec.Ports {
					require.Equal(t, intstr.String, port.TargetPort.Type, s.Name)
					require.Contains(t, portsOf(p.spec.Containers[0]), port.TargetPort.StrVal, s.Name)
				}
			}
			require.Positive(t, behind, "nothing is behind the Service %s", s.Name)
		}
	})
}

func TestAWorkloadSelectsItsOwnPodsAndNoOthers(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		selectors := map[string]*metav1.LabelSelector{}
		for _, d := range of[*appsv1.Deployment](r) {
			selectors["Deployment "+d.Name] = d.Spec.Selector
		}
		for _, s := range of[*appsv1.StatefulSet](r) {
			selectors["StatefulSet "+s.Name] = s.Spec.Selector
		}
		for owner, selector := range selectors {
			for _, p := range r.pods() {
				require.Equal(t, p.owner == owner, selects(t, selector, p), "the selector of %s and the pods of %s", owner, p.owner)
			}
		}
		for _, component := range components() {
			service := named[*corev1.Service](t, r, fullname+"-"+component)
			for _, p := range r.pods() {
				want := p.owner == "Deployment "+service.Name
				require.Equal(t, want, selects(t, &metav1.LabelSelector{MatchLabels: service.Spec.Selector}, p), "Service %s, %s", service.Name, p.owner)
			}
		}
	})
}

// TestWhatSelectsAServiceDoesNotChangeWithTheRelease: a Deployment's selector is immutable.
func TestWhatSelectsAServiceDoesNotChangeWithTheRelease(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, d := range of[*appsv1.Deployment](r) {
			require.Equal(t, []string{"app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"},
				slices.Sorted(maps.Keys(d.Spec.Selector.MatchLabels)))
		}
	})
}

func TestEachServiceIsSpreadOverZonesAndHosts(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, p := range r.pods() {
			if !strings.HasPrefix(p.owner, "Deployment ") {
				continue
			}
			var over []string
			for _, c := range p.spec.TopologySpreadConstraints {
				over = append(over, c.TopologyKey)
				require.True(t, selects(t, c.LabelSelector, p), p.owner)
				require.Len(t, c.LabelSelector.MatchLabels, 3, p.owner)
				require.Equal(t, []string{"pod-template-hash"}, c.MatchLabelKeys, p.owner)
			}
			require.Subset(t, over, []string{"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, p.owner)
		}
	})
}

func TestARolloutAndADrainOfANodeLeaveEnoughPods(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		budgets := map[string]*policyv1.PodDisruptionBudget{}
		for _, b := range of[*policyv1.PodDisruptionBudget](r) {
			budgets[b.Name] = b
		}
		scalers := map[string]*autoscalingv2.HorizontalPodAutoscaler{}
		for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](r) {
			require.Equal(t, "Deployment", h.Spec.ScaleTargetRef.Kind)
			scalers[h.Spec.ScaleTargetRef.Name] = h
		}
		for _, d := range of[*appsv1.Deployment](r) {
			require.Equal(t, intstr.FromInt32(0), *d.Spec.Strategy.RollingUpdate.MaxUnavailable, d.Name)
			require.Equal(t, intstr.FromInt32(1), *d.Spec.Strategy.RollingUpdate.MaxSurge, d.Name)
			least := int32(0)
			if h := scalers[d.Name]; h != nil {
				require.Nil(t, d.Spec.Replicas, "%s: each upgrade would undo the autoscaler", d.Name)
				least = *h.Spec.MinReplicas
			} else {
				least = *d.Spec.Replicas
			}
			budget := budgets[d.Name]
			require.Equal(t, least > 1, budget != nil, "%s has %d pods", d.Name, least)
			if budget != nil {
				require.Equal(t, intstr.FromInt32(1), *budget.Spec.MaxUnavailable)
				require.Equal(t, d.Spec.Selector, budget.Spec.Selector)
			}
			delete(budgets, d.Name)
		}
		require.Empty(t, budgets)
	})
}

func TestTheGatewayScalesOnItsOpenPolls(t *testing.T) {
	r, err := caseRelease("everything-on")
	require.NoError(t, err)
	for _, component := range components() {
		h := named[*autoscalingv2.HorizontalPodAutoscaler](t, r, fullname+"-"+component)
		require.GreaterOrEqual(t, *h.Spec.Behavior.ScaleDown.StabilizationWindowSeconds, int32(300))
		var custom []string
		for _, m := range h.Spec.Metrics {
			if m.Type == autoscalingv2.PodsMetricSourceType {
				custom = append(custom, m.Pods.Metric.Name)
				require.Less(t, m.Pods.Target.AverageValue.Value(), int64(10000), "MAX_POLLS")
			} else {
				require.Equal(t, corev1.ResourceCPU, m.Resource.Name)
			}
		}
		if component == "poll-gateway" {
			require.Equal(t, []string{"sealpost_gateway_open_polls"}, custom)
		} else {
			require.Empty(t, custom)
		}
	}
}

func TestAChangeOfTheConfigurationMakesNewPods(t *testing.T) {
	sum := func(values string) map[string]string {
		r, err := newRelease(parseValues(t, values))
		require.NoError(t, err)
		sums := map[string]string{}
		for _, d := range of[*appsv1.Deployment](r) {
			sums[d.Labels["app.kubernetes.io/component"]] = d.Spec.Template.Annotations["checksum/config"]
		}
		return sums
	}
	before, after := sum(""), sum("{pollGateway: {config: {MAX_POLLS: 12000}}}")
	for component := range before {
		require.Equal(t, component != "poll-gateway", before[component] == after[component], component)
	}
}

func TestIndexesAreMadeBeforeTheRelease(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		for _, j := range of[*batchv1.Job](r) {
			require.Equal(t, fullname+"-create-indexes", j.Name)
			require.Equal(t, "pre-install,pre-upgrade", j.Annotations["helm.sh/hook"])
			spec := j.Spec.Template.Spec
			require.Equal(t, []string{"/messages", "create-indexes"}, spec.Containers[0].Command)
			require.Equal(t, corev1.RestartPolicyNever, spec.RestartPolicy)
			require.Empty(t, spec.ServiceAccountName, "the release's accounts are not there yet")
			require.Empty(t, spec.Containers[0].EnvFrom, "the release's ConfigMaps are not there yet")
			require.Positive(t, *j.Spec.ActiveDeadlineSeconds)
		}
	})
	r, err := caseRelease("production")
	require.NoError(t, err)
	require.Len(t, of[*batchv1.Job](r), 1)
}
