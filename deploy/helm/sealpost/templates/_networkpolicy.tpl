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

{{/* The egress rule to a backing service. Takes its values. */}}
{{- define "sealpost.egressEngine" -}}
- ports:
    {{- range .egress.ports }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- with .egress.to }}
  to:
    {{- toYaml . | nindent 4 }}
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
