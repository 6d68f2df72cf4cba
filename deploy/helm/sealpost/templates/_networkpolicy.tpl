{{/* Egress rules to where names are resolved. */}}
{{- define "sealpost.egressDNS" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The egress rule to a backing service. Takes {root, engine}, engine being mongodb, redis or nats. */}}
{{- define "sealpost.egressEngine" -}}
{{- $egress := (index .root.Values .engine).egress -}}
- ports:
    {{- range $egress.ports }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- if .root.Values.dev.engines }}
  to:
    {{- include "sealpost.peer" (dict "root" .root "components" (list (printf "dev-%s" .engine))) | nindent 4 }}
  {{- else if $egress.to }}
  to:
    {{- toYaml $egress.to | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* A peer: the pods of this release with one of the components. Takes {root, components}. */}}
{{- define "sealpost.peer" -}}
- podSelector:
    matchLabels:
      {{- include "sealpost.selectorLabels" .root | nindent 6 }}
    matchExpressions:
      - key: app.kubernetes.io/component
        operator: In
        values: {{ toJson .components }}
{{- end -}}
