{{/* What the pods of the services and of the Job share. */}}

{{- define "sealpost.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.podSecurity.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "sealpost.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
The secrets of a service, as YAML: {files: [{secret, key, path, env}]}, env without _FILE only where the variable is a
file by its nature. Takes {root, svc}.
*/}}
{{- define "sealpost.secretFiles" -}}
{{- $v := .root.Values -}}
{{- $all := list
  (list "MONGODB_URI_FILE" $v.mongodb.existingSecret $v.mongodb.uriKey "mongodb/uri")
  (list "" $v.mongodb.existingSecret $v.mongodb.caKey "mongodb/ca.crt")
  (list "" $v.mongodb.existingSecret $v.mongodb.clientCertKey "mongodb/client.pem")
  (list "REDIS_URL_FILE" $v.redis.existingSecret $v.redis.urlKey "redis/url")
  (list "REDIS_CA_FILE" $v.redis.existingSecret $v.redis.caKey "redis/ca.crt")
  (list "REDIS_CERT_FILE" $v.redis.existingSecret $v.redis.clientCertKey "redis/tls.crt")
  (list "REDIS_KEY_FILE" $v.redis.existingSecret $v.redis.clientPrivateKeyKey "redis/tls.key")
  (list "NATS_URL_FILE" $v.nats.existingSecret $v.nats.urlKey "nats/url")
  (list "NATS_CREDENTIALS_FILE" $v.nats.existingSecret $v.nats.credentialsKey "nats/user.creds")
  (list "NATS_CA_FILE" $v.nats.existingSecret $v.nats.caKey "nats/ca.crt")
  (list "NATS_CERT_FILE" $v.nats.existingSecret $v.nats.clientCertKey "nats/tls.crt")
  (list "NATS_KEY_FILE" $v.nats.existingSecret $v.nats.clientPrivateKeyKey "nats/tls.key")
  (list "OTEL_EXPORTER_OTLP_HEADERS_FILE" $v.tracing.existingSecret $v.tracing.headersKey "tracing/headers")
  (list "OTEL_EXPORTER_OTLP_CERTIFICATE" $v.tracing.existingSecret $v.tracing.caKey "tracing/ca.crt") -}}
{{- if eq .svc.component "keys" -}}
{{- $all = append $all (list "SERVER_KEY_FILE" .svc.serverKey.existingSecret .svc.serverKey.key "keys/server.pem") -}}
{{- end -}}
{{- $files := list -}}
{{- $dev := dict "mongodb/uri" "mongodb-uri" "redis/url" "redis-url" "nats/url" "nats-url" -}}
{{- range $all -}}
{{- $secret := index . 1 -}}
{{- $key := index . 2 -}}
{{- if $v.dev.engines -}}
{{- $secret = printf "%s-dev" (include "sealpost.fullname" $.root) -}}
{{- $key = get $dev (index . 3) -}}
{{- end -}}
{{- if and $secret $key -}}
{{- $files = append $files (dict "env" (index . 0) "secret" $secret "key" $key "path" (index . 3)) -}}
{{- end -}}
{{- end -}}
{{- dict "files" $files | toYaml -}}
{{- end -}}

{{/* Takes {root, svc}. */}}
{{- define "sealpost.secretVolume" -}}
name: secrets
projected:
  defaultMode: 0440
  sources:
    {{- range (include "sealpost.secretFiles" . | fromYaml).files }}
    - secret:
        name: {{ .secret }}
        items:
          - key: {{ .key | quote }}
            path: {{ .path }}
    {{- end }}
{{- end -}}

{{/* The keys of tokens, a folder: what is added to the Secret is there without a change of the pod. Takes root. */}}
{{- define "sealpost.signingKeysVolume" -}}
name: signing-keys
projected:
  defaultMode: 0440
  sources:
    - secret:
        {{- if .Values.dev.engines }}
        name: {{ include "sealpost.fullname" . }}-dev
        items:
          - key: signing.pem
            path: signing.pem
        {{- else }}
        name: {{ .Values.auth.signingKeys.existingSecret }}
        {{- end }}
{{- end -}}

{{/* The whole environment of a service, as a YAML map of strings; no secret is in it. Takes {root, svc}. */}}
{{- define "sealpost.environment" -}}
{{- $root := .root -}}
{{- $svc := .svc -}}
{{- $t := $root.Values.timeouts -}}
{{- $env := dict -}}
{{- range $name, $value := mustMergeOverwrite (deepCopy $root.Values.config) (deepCopy $svc.config) -}}
{{- $_ := set $env $name (include "sealpost.setting" $value) -}}
{{- end -}}
{{- $_ := set $env "PORT" "3000" -}}
{{- $_ := set $env "ADMIN_ADDRESS" ":9301" -}}
{{- $_ := set $env "IDLE_TIMEOUT" (printf "%ds" (int $t.idle)) -}}
{{- $_ := set $env "LAME_DUCK" (printf "%ds" (int $t.lameDuck)) -}}
{{- $_ := set $env "SHUTDOWN_TIMEOUT" (printf "%ds" (int $svc.shutdownTimeout)) -}}
{{- $_ := set $env "REDIS_MODE" $root.Values.redis.mode -}}
{{- with $root.Values.tracing.endpoint -}}
{{- $_ := set $env "OTEL_EXPORTER_OTLP_ENDPOINT" . -}}
{{- end -}}
{{- with $root.Values.mongodb.database -}}
{{- $_ := set $env "MONGODB_DATABASE" . -}}
{{- end -}}
{{- if eq $svc.component "auth" -}}
{{- $_ := set $env "JWT_KEYS_DIR" "/etc/sealpost/signing-keys" -}}
{{- else -}}
{{- $_ := set $env "JWKS_URL" (printf "http://%s-auth:%d/.well-known/jwks.json" (include "sealpost.fullname" $root) (int (include "sealpost.authPort" $root))) -}}
{{- end -}}
{{- if has $svc.component (list "messages" "poll-gateway") -}}
{{- $_ := set $env "RETENTION" $root.Values.retention -}}
{{- end -}}
{{- if eq $svc.component "poll-gateway" -}}
{{- $_ := set $env "POLL_WAIT" (printf "%ds" (int $t.pollWait)) -}}
{{- $_ := set $env "DRAIN_TIME" (printf "%ds" (int $t.drain)) -}}
{{- end -}}
{{- with dig "limits" "memory" "" $svc.resources -}}
{{- $bytes := mulf (float64 (include "sealpost.bytes" .)) (divf (float64 $svc.memoryLimitPercent) 100) -}}
{{- $_ := set $env "GOMEMLIMIT" (printf "%dMiB" (divf $bytes 1048576 | int64)) -}}
{{- end -}}
{{- range (include "sealpost.secretFiles" . | fromYaml).files -}}
{{- if .env -}}
{{- $_ := set $env .env (printf "/etc/sealpost/secrets/%s" .path) -}}
{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{- define "sealpost.authPort" -}}
{{- dig "service" "port" .Values.defaults.service.port .Values.auth -}}
{{- end -}}
