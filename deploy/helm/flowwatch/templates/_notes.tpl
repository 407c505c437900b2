{{- define "flowwatch.notes" -}}
{{- $name := include "flowwatch.fullname" . -}}
{{- $config := include "flowwatch.config" . | fromYaml -}}
{{- $url := include "flowwatch.publicURL" . -}}
flowwatch reads {{ if $config.sources }}{{ len $config.sources }} sources{{ else if eq (dig "hubble" "source" "relay" $config) "relay" }}{{ $config.hubble.server }}{{ else }}the {{ $config.hubble.source }} of the cluster{{ end }} as `{{ $config.cluster }}`.

1. Is it there? It is ready with its first stream, or two minutes later without one.

     kubectl --namespace {{ .Release.Namespace }} rollout status deployment/{{ $name }}

2. Open next:
{{ if $url }}
     {{ $url }}/
{{ else }}
     kubectl --namespace {{ .Release.Namespace }} port-forward service/{{ $name }} 9950
     {{ include "flowwatch.scheme" . | lower }}://localhost:9950{{ dig "web" "prefix" "" $config }}/coverage    is every node streaming?
     {{ include "flowwatch.scheme" . | lower }}://localhost:9950{{ dig "web" "prefix" "" $config }}/findings    what is not as declared
{{ end }}
   or ask in the pod:

     kubectl --namespace {{ .Release.Namespace }} exec deployment/{{ $name }} -- flowwatch findings
{{ if not (or .Values.allowlist.files .Values.allowlist.configMaps $config.allowlist) }}
Nothing is declared yet, so nothing is judged.
{{- else if not (or .Values.allowlist.files .Values.allowlist.configMaps .Values.config.allowlist) }}
Only flowwatch's own network policy is declared yet, so only its own traffic is judged. Next, declare what is allowed:
allowlist.files or allowlist.configMaps.
{{- end }}
{{- if not (dig "alerts" "alertmanagers" list $config) }}
No Alertmanager is named (config.alerts.alertmanagers), so alerts are only shown.
{{- end }}
{{- if not (or .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled) }}
Prometheus does not scrape it by itself: monitoring.serviceMonitor.enabled where its operator runs.
{{- end }}
{{- if and $url (not .Values.web.token.secret) (not (dig "web" "token_file" "" $config)) (not (dig "web" "tls" "client_ca" "" $config)) }}
WARNING: whoever reaches {{ $url }} sees every flow, for web.token.secret is not set.
{{- end }}
{{- if not .Values.persistence.enabled }}
WARNING: without persistence a restart forgets what was observed.
{{- end }}
{{- end -}}
