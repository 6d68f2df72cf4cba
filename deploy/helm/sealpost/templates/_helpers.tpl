{{/* Names and labels. */}}

{{- define "sealpost.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for -poll-gateway and what Kubernetes adds. */}}
{{- define "sealpost.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "sealpost.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sealpost.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Selects all pods of the release. */}}
{{- define "sealpost.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sealpost.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sealpost.labels" -}}
{{ include "sealpost.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sealpost
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
The four services, as YAML: {services: [...]}. Each is `defaults` with the service's own values over it, and:
  component  name of the service, of its image and of its binary
  name       name of its objects
  grace      seconds from deletion to SIGKILL, see sealpost.timeouts
Used as: range (include "sealpost.services" . | fromYaml).services
*/}}
{{- define "sealpost.services" -}}
{{- include "sealpost.checkTimeouts" . -}}
{{- $services := list -}}
{{- $keys := dict "auth" "auth" "keys" "keys" "messages" "messages" "poll-gateway" "pollGateway" -}}
{{- range $component, $key := $keys -}}
{{- $svc := mustMergeOverwrite (deepCopy $.Values.defaults) (deepCopy (index $.Values $key)) -}}
{{- $_ := set $svc "component" $component -}}
{{- $_ := set $svc "key" $key -}}
{{- $_ := set $svc "name" (printf "%s-%s" (include "sealpost.fullname" $) $component) -}}
{{- $t := include "sealpost.shutdown" (dict "root" $ "component" $component) | fromYaml -}}
{{- $_ := set $svc "shutdownTimeout" $t.shutdown -}}
{{- $own := int $svc.terminationGracePeriodSeconds -}}
{{- if and $own (lt $own (int $t.grace)) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d: preStop, lameDuck, drain and route need %d" $key $own (int $t.grace)) -}}
{{- end -}}
{{- $_ := set $svc "grace" (default (int $t.grace) $own) -}}
{{- $_ := set $svc "multiple" (gt (ternary (int $svc.autoscaling.minReplicas) (int $svc.replicas) $svc.autoscaling.enabled) 1) -}}
{{- include "sealpost.checkService" $svc -}}
{{- $services = append $services $svc -}}
{{- end -}}
{{- dict "services" $services | toYaml -}}
{{- end -}}

{{- define "sealpost.image" -}}
{{- $global := .root.Values.image -}}
{{- $own := .svc.image -}}
{{- $repository := default (printf "%s/%s" $global.repository .svc.component) $own.repository -}}
{{- $base := printf "%s/%s" (default $global.registry $own.registry) $repository -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $base $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $base (coalesce $own.tag $global.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* A setting as it is written in the environment: Helm reads every number as a float. */}}
{{- define "sealpost.setting" -}}
{{- if kindIs "float64" . -}}{{ printf "%.0f" . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* The number of bytes of a Kubernetes quantity or of a size of the services: 512Mi, 1G, 64MiB, 64MB, 1048576. */}}
{{- define "sealpost.bytes" -}}
{{- $text := include "sealpost.setting" . | trimSuffix "B" -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text | trim -}}
{{- $units := dict "" 1 "k" 1000 "K" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- if or (eq $number "") (not (hasKey $units $unit)) -}}
{{- fail (printf "%q is not an amount of memory such as 512Mi" (toString .)) -}}
{{- end -}}
{{- mulf (float64 $number) (float64 (get $units $unit)) | int64 -}}
{{- end -}}
