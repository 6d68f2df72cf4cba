{{/*
The chain of timeouts; deploy/TIMEOUTS.md tells it whole.
*/}}
{{- define "sealpost.checkTimeouts" -}}
{{- $t := .Values.timeouts -}}
{{- if gt (int $t.pollWait) (int $t.maxPollWait) -}}
{{- fail (printf "timeouts.pollWait (%d) is more than timeouts.maxPollWait (%d)" (int $t.pollWait) (int $t.maxPollWait)) -}}
{{- end -}}
{{- if lt (int $t.route) (add (int $t.maxPollWait) 5 | int) -}}
{{- fail (printf "timeouts.route (%d) must be at least timeouts.maxPollWait (%d) + 5: polls would be cut before they are answered" (int $t.route) (int $t.maxPollWait)) -}}
{{- end -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.controller "alb") (le (int $t.idle) (int $t.route)) -}}
{{- fail (printf "timeouts.idle (%d) must be more than timeouts.route (%d): an ALB has one timeout for requests and for idle connections" (int $t.idle) (int $t.route)) -}}
{{- end -}}
{{- if le (int $t.idle) (int $t.loadBalancerIdle) -}}
{{- fail (printf "timeouts.idle (%d) must be more than timeouts.loadBalancerIdle (%d): requests would meet connections that the service is closing" (int $t.idle) (int $t.loadBalancerIdle)) -}}
{{- end -}}
{{- if lt (add (int $t.preStop) (int $t.lameDuck) | int) 5 -}}
{{- fail (printf "timeouts.preStop (%d) + timeouts.lameDuck (%d) must be at least 5: load balancers would send requests to pods that are gone" (int $t.preStop) (int $t.lameDuck)) -}}
{{- end -}}
{{- end -}}

{{/*
The end of a pod, in seconds, as YAML. Takes {root, component}.
  drain     DRAIN_TIME, of the gateway alone
  shutdown  SHUTDOWN_TIMEOUT, which counts from SIGTERM
            A request that is under way when the listener closes is waited for as long as the load balancer waits for it, and
            not longer: timeouts.route
  grace     terminationGracePeriodSeconds, which counts from the deletion, with 5 s for the process to close its connections
*/}}
{{- define "sealpost.shutdown" -}}
{{- $t := .root.Values.timeouts -}}
{{- $drain := ternary (int $t.drain) 0 (eq .component "poll-gateway") -}}
{{- $shutdown := add (int $t.lameDuck) $drain (int $t.route) -}}
drain: {{ $drain }}
shutdown: {{ $shutdown }}
grace: {{ add (int $t.preStop) $shutdown 5 }}
{{- end -}}

{{/* Rules between the values of one service, beyond what the schema can say. Takes the merged service. */}}
{{- define "sealpost.checkService" -}}
{{- $a := .autoscaling -}}
{{- if and $a.enabled (gt (int $a.minReplicas) (int $a.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas (%d) is more than maxReplicas (%d)" .key (int $a.minReplicas) (int $a.maxReplicas)) -}}
{{- end -}}
{{- $polls := int (default 0 $a.targetOpenPolls) -}}
{{- if and $a.enabled (not $a.targetCPUPercent) (not $polls) -}}
{{- fail (printf "%s.autoscaling has no target: set targetCPUPercent" .key) -}}
{{- end -}}
{{- if and $polls (ge $polls (int (default 10000 .config.MAX_POLLS))) -}}
{{- fail (printf "%s.autoscaling.targetOpenPolls (%d) must be less than MAX_POLLS: polls would be refused before a pod is added" .key $polls) -}}
{{- end -}}
{{- $limit := dig "limits" "memory" "" .resources -}}
{{- if and (has .component (list "auth" "keys")) $limit -}}
{{- $workers := int (default 0 .config.ARGON2_WORKERS) -}}
{{- if not $workers -}}
{{- fail (printf "%s.config.ARGON2_WORKERS must be set where a memory limit is: one a core but one, the default, does not know the limit" .key) -}}
{{- end -}}
{{- $hashing := mulf (float64 $workers) (float64 (include "sealpost.bytes" (default "64MiB" .config.ARGON2_MEMORY))) -}}
{{- if gt $hashing (mulf (float64 (include "sealpost.bytes" $limit)) 0.75) -}}
{{- fail (printf "%s: %d workers with ARGON2_MEMORY %v take more than 3/4 of the memory limit %v" .key $workers (default "64MiB" .config.ARGON2_MEMORY) $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
