{{/*
Which paths go where, the longer before the shorter, as YAML: {routes: [{component, timeout, paths: [{type, value}]}]}.
timeout is in seconds; 0 is none, for streams: they live as long as their client's token, and say something every 15 s.
*/}}
{{- define "sealpost.routes" -}}
routes:
  - component: poll-gateway
    timeout: 0
    paths:
      - {type: Prefix, value: /api/messages/stream}
  - component: poll-gateway
    timeout: {{ int .Values.timeouts.route }}
    paths:
      - {type: Prefix, value: /api/messages/poll}
  - component: messages
    timeout: {{ int .Values.timeouts.route }}
    paths:
      - {type: Prefix, value: /api/messages}
      - {type: Exact, value: /api/health}
      - {type: Exact, value: /api/openapi.yaml}
  - component: keys
    timeout: {{ int .Values.timeouts.route }}
    paths:
      - {type: Prefix, value: /api/keys}
      - {type: Prefix, value: /api/users}
  - component: auth
    timeout: {{ int .Values.timeouts.route }}
    paths:
      - {type: Prefix, value: /api/auth}
      - {type: Exact, value: /.well-known/jwks.json}
{{- end -}}

{{/* The Service port of each component, as YAML. */}}
{{- define "sealpost.ports" -}}
{{- range (include "sealpost.services" . | fromYaml).services }}
{{ .component }}: {{ int .service.port }}
{{- end }}
{{- end -}}
