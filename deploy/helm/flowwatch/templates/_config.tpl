{{- /* flowwatch.yaml: what the chart knows, and over it what `config` says. */ -}}
{{- define "flowwatch.config" -}}
{{- $size := include "flowwatch.size" . | fromYaml -}}
{{- $given := deepCopy .Values.config -}}
{{- $known := dict "store" (dict "memory_limit" $size.memory_limit "max_size" $size.max_size) -}}
{{- if not $given.sources -}}
{{- $hubble := dict -}}
{{- $tls := .Values.hubbleTLS -}}
{{- $source := dig "hubble" "source" "relay" $given -}}
{{- if eq $source "relay" -}}
{{- $_ := set $hubble "server" (printf "hubble-relay.kube-system.svc:%s" (ternary "443" "80" $tls.enabled)) -}}
{{- end -}}
{{- if $tls.enabled -}}
{{- $name := ternary "hubble-peer.default.hubble-grpc.cilium.io" "instance.hubble-relay.cilium.io" (eq $source "nodes") -}}
{{- $files := dict "enabled" true "ca" "/etc/flowwatch/hubble-tls/ca.crt" "server_name" ($tls.serverName | default $name) -}}
{{- if $tls.mutual -}}
{{- $_ := set $files "cert" "/etc/flowwatch/hubble-tls/tls.crt" -}}
{{- $_ := set $files "key" "/etc/flowwatch/hubble-tls/tls.key" -}}
{{- end -}}
{{- $_ := set $hubble "tls" $files -}}
{{- end -}}
{{- $_ := set $known "hubble" $hubble -}}
{{- end -}}
{{- $web := dict -}}
{{- if .Values.web.token.secret -}}
{{- $_ := set $web "token_file" (printf "/etc/flowwatch/token/%s" .Values.web.token.key) -}}
{{- end -}}
{{- if .Values.web.tls.secret -}}
{{- $_ := set $web "tls" (dict "cert" "/etc/flowwatch/web-tls/tls.crt" "key" "/etc/flowwatch/web-tls/tls.key") -}}
{{- end -}}
{{- $_ := set $known "web" $web -}}
{{- $scheme := ternary "https" "http" (ne .Values.web.tls.secret "") -}}
{{- $inside := printf "%s://%s.%s.svc:9950%s" $scheme (include "flowwatch.fullname" .) .Release.Namespace (dig "web" "prefix" "" $given) -}}
{{- $_ := set $known "alerts" (dict "external_url" (include "flowwatch.publicURL" . | default $inside)) -}}
{{- $config := mergeOverwrite $known $given -}}
{{- $declared := list -}}
{{- if include "flowwatch.allowlistFiles" . -}}
{{- $declared = append $declared "/etc/flowwatch/allowlist" -}}
{{- end -}}
{{- range .Values.allowlist.configMaps -}}
{{- $declared = append $declared (printf "/etc/flowwatch/allowlists/%s" .) -}}
{{- end -}}
{{- $_ := set $config "allowlist" (concat $declared ($given.allowlist | default list)) -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Where people reach the page; empty where nothing leads to it from outside. */ -}}
{{- define "flowwatch.publicURL" -}}
{{- $path := dig "web" "prefix" "" .Values.config -}}
{{- if and .Values.ingress.enabled .Values.ingress.host -}}
{{ ternary "https" "http" (ne .Values.ingress.tlsSecret "") }}://{{ .Values.ingress.host }}{{ $path }}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
https://{{ first .Values.httpRoute.hostnames }}{{ $path }}
{{- end -}}
{{- end -}}

{{- define "flowwatch.port" -}}
{{- regexFind "[0-9]+$" .Values.config.web.listen -}}
{{- end -}}

{{- define "flowwatch.scheme" -}}
{{- $config := include "flowwatch.config" . | fromYaml -}}
{{- ternary "HTTPS" "HTTP" (ne (dig "web" "tls" "cert" "" $config) "") -}}
{{- end -}}

{{- /* The files of the allowlist's ConfigMap: flowwatch's own policy, and what `allowlist.files` holds. */ -}}
{{- define "flowwatch.allowlistFiles" -}}
{{- $files := dict -}}
{{- if .Values.allowlist.own -}}
{{- if .Values.networkPolicy.cilium -}}
{{- $_ := set $files "flowwatch-cilium-network-policy.yaml" (include "flowwatch.ciliumNetworkPolicy" .) -}}
{{- end -}}
{{- if .Values.networkPolicy.kubernetes -}}
{{- $_ := set $files "flowwatch-network-policy.yaml" (include "flowwatch.networkPolicy" .) -}}
{{- end -}}
{{- end -}}
{{- $files = merge $files .Values.allowlist.files -}}
{{- if $files -}}
{{- toYaml $files -}}
{{- end -}}
{{- end -}}
