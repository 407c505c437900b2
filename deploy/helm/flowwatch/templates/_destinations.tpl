{{- /*
Everything that the configuration makes flowwatch connect to, as {destinations: [...]}, each with what a policy can say of it:
  {service: alertmanager, namespace: monitoring, podLabels: {...}, port: 9093}   pods behind a Service
  {name: alerts.example.org, port: 443}                                         outside, by DNS name
  {cidr: 192.0.2.7/32, port: 9093}                                              an address
  {nodes: true, port: 4244}                                                     the agents of all nodes
*/ -}}
{{- define "flowwatch.destinations" -}}
{{- $root := . -}}
{{- $config := include "flowwatch.config.addresses" . | fromYaml -}}
{{- $found := list -}}
{{- if $config.nodes -}}
{{- $found = append $found (dict "nodes" true "port" (int .Values.networkPolicy.agentPort)) -}}
{{- end -}}
{{- range $config.urls -}}
{{- $url := urlParse . -}}
{{- $host := trimSuffix "." $url.hostname -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) -}}
{{- $port = int ($port | default (ternary "443" "80" (eq $url.scheme "https"))) -}}
{{- if contains ":" $host -}}
{{- $found = append $found (dict "cidr" (printf "%s/128" $host) "port" $port) -}}
{{- else if regexMatch "^[0-9.]+$" $host -}}
{{- $found = append $found (dict "cidr" (printf "%s/32" $host) "port" $port) -}}
{{- else if or (not (contains "." $host)) (regexMatch "^[^.]+\\.[^.]+$" $url.hostname) (regexMatch "\\.svc(\\.|$)" $host) -}}
{{- $labels := splitList "." (regexReplaceAll "\\.svc(\\..*)?$" $host "") -}}
{{- if eq (len $labels) 1 -}}
{{- $labels = append $labels $root.Release.Namespace -}}
{{- end -}}
{{- $service := index $labels (sub (len $labels) 2 | int) -}}
{{- $namespace := last $labels -}}
{{- $behind := get $root.Values.networkPolicy.services (printf "%s.%s" $service $namespace) | default dict -}}
{{- if and (not $behind) (has $port (list 80 443)) -}}
{{- fail (printf "config names %s: a policy must name the port of the pods behind that Service; say in networkPolicy.services what stands behind `%s.%s`: {podLabels: {...}, port: ...}" . $service $namespace) -}}
{{- end -}}
{{- $found = append $found (dict "service" $service "namespace" $namespace "podLabels" ($behind.podLabels | default dict) "port" (int ($behind.port | default $port))) -}}
{{- else -}}
{{- $found = append $found (dict "name" $host "port" $port) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "destinations" ($found | uniq)) -}}
{{- end -}}

{{- /* The addresses in the configuration, all of them as URLs; `nodes` where every agent is connected to. */ -}}
{{- define "flowwatch.config.addresses" -}}
{{- $config := .Values.config -}}
{{- $urls := list -}}
{{- $nodes := false -}}
{{- $defaults := dict "server" (printf "hubble-relay.kube-system.svc:%s" (ternary "443" "80" .Values.hubbleTLS.enabled)) -}}
{{- range $config.sources | default (list ($config.hubble | default dict)) -}}
{{- $source := .source | default "relay" -}}
{{- $address := ternary (.server | default $defaults.server) (.peer | default "") (eq $source "relay") -}}
{{- if or (hasPrefix "unix:" $address) (eq $source "file") -}}
{{- if not $.Values.extraVolumes -}}
{{- fail "config reads a socket or files of the node: that takes a hostPath in extraVolumes and extraVolumeMounts, which Pod Security `restricted` refuses" -}}
{{- end -}}
{{- else if eq $source "relay" -}}
{{- $urls = append $urls (printf "grpc://%s" $address) -}}
{{- end -}}
{{- if eq $source "nodes" -}}
{{- $nodes = true -}}
{{- end -}}
{{- end -}}
{{- range dig "alerts" "alertmanagers" list $config -}}
{{- $urls = append $urls (trimPrefix "dns+" .) -}}
{{- end -}}
{{- toYaml (dict "urls" ($urls | uniq) "nodes" $nodes) -}}
{{- end -}}
