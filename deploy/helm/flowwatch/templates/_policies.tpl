{{- define "flowwatch.ciliumNetworkPolicy" -}}
{{- $port := include "flowwatch.port" . -}}
{{- $policy := .Values.networkPolicy -}}
{{- $destinations := (include "flowwatch.destinations" . | fromYaml).destinations -}}
{{- $names := list -}}
{{- range $destinations -}}
{{- if .name -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: {{ include "flowwatch.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "flowwatch.labels" . | nindent 4 }}
spec:
  description: What flowwatch is asked by and what it sends to, as its configuration names it.
  endpointSelector:
    matchLabels:
      {{- include "flowwatch.selectorLabels" . | nindent 6 }}
  ingress:
    {{- $clients := list }}
    {{- range $name, $client := $policy.clients }}
    {{- if $client }}
    {{- $clients = append $clients $client }}
    # {{ $name }}
    - fromEndpoints:
        - matchLabels:
            k8s:io.kubernetes.pod.namespace: {{ $client.namespace }}
            {{- with $client.podLabels }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      toPorts:
        - ports:
            - {port: {{ $port | quote }}, protocol: TCP}
    {{- end }}
    {{- end }}
    {{- if or .Values.ingress.enabled .Values.httpRoute.enabled }}
    # whoever leads people to the page
    {{- with $policy.ingressController }}
    - fromEndpoints:
        - matchLabels:
            k8s:io.kubernetes.pod.namespace: {{ .namespace }}
            {{- with .podLabels }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
    {{- else }}
    - fromEntities: [ingress]
    {{- end }}
      toPorts:
        - ports:
            - {port: {{ $port | quote }}, protocol: TCP}
    {{- else if not (or $clients $policy.extraIngress) }}
    - {}
    {{- end }}
    {{- with $policy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    - toEndpoints:
        - matchLabels:
            k8s:io.kubernetes.pod.namespace: {{ $policy.dns.namespace }}
            {{- toYaml $policy.dns.podLabels | nindent 12 }}
      toPorts:
        - ports:
            - {port: {{ $policy.dns.port | quote }}, protocol: UDP}
            - {port: {{ $policy.dns.port | quote }}, protocol: TCP}
          {{- if $names }}
          # Cilium learns from the answers which addresses the names below have
          rules:
            dns:
              - matchPattern: "*"
          {{- end }}
    {{- range $destinations }}
    {{- if .service }}
    # {{ .service }}.{{ .namespace }}
    - toEndpoints:
        - matchLabels:
            k8s:io.kubernetes.pod.namespace: {{ .namespace }}
            {{- with .podLabels }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
    {{- else if .nodes }}
    # the agents of all nodes
    - toEntities: [host, remote-node]
    {{- else if .cidr }}
    - toCIDR: [{{ .cidr | quote }}]
    {{- else }}
    - toFQDNs:
        - matchName: {{ .name }}
    {{- end }}
      toPorts:
        - ports:
            - {port: {{ .port | quote }}, protocol: TCP}
    {{- end }}
    {{- if .Values.apiServer.enabled }}
    - toEntities: [kube-apiserver]
      toPorts:
        - ports:
            - {port: "6443", protocol: TCP}
            - {port: "443", protocol: TCP}
    {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "flowwatch.networkPolicy" -}}
{{- $port := include "flowwatch.port" . -}}
{{- $policy := .Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "flowwatch.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "flowwatch.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "flowwatch.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- $peers := dict }}
    {{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not $policy.ingressController) (not $policy.cilium) }}
    {{- fail "Cilium's own ingress is nothing that a NetworkPolicy can name: set networkPolicy.ingressController or networkPolicy.cilium" }}
    {{- end }}
    {{- range $name, $client := $policy.clients }}
    {{- if $client }}
    {{- $_ := set $peers $name $client }}
    {{- end }}
    {{- end }}
    {{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) $policy.ingressController }}
    {{- $_ := set $peers "whoever leads people to the page" $policy.ingressController }}
    {{- end }}
    {{- range $name, $client := $peers }}
    # {{ $name }}
    - from:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ $client.namespace }}
          {{- with $client.podLabels }}
          podSelector:
            matchLabels:
              {{- toYaml . | nindent 14 }}
          {{- end }}
      ports:
        - {port: {{ $port }}, protocol: TCP}
    {{- else }} []
    {{- end }}
  egress:
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ $policy.dns.namespace }}
          podSelector:
            matchLabels:
              {{- toYaml $policy.dns.podLabels | nindent 14 }}
      ports:
        - {port: {{ $policy.dns.port }}, protocol: UDP}
        - {port: {{ $policy.dns.port }}, protocol: TCP}
    {{- range (include "flowwatch.destinations" . | fromYaml).destinations }}
    {{- if .service }}
    # {{ .service }}.{{ .namespace }}
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ .namespace }}
          {{- with .podLabels }}
          podSelector:
            matchLabels:
              {{- toYaml . | nindent 14 }}
          {{- end }}
      ports:
        - {port: {{ .port }}, protocol: TCP}
    {{- else if .cidr }}
    - to:
        - ipBlock: {cidr: {{ .cidr | quote }}}
      ports:
        - {port: {{ .port }}, protocol: TCP}
    {{- else if not $policy.cilium }}
    {{- if .nodes }}
    {{- fail "config reads from the nodes, which Cilium lets no NetworkPolicy name: set networkPolicy.cilium" }}
    {{- end }}
    # {{ .name }}: this kind of policy knows no names
    - to:
        - ipBlock: {cidr: 0.0.0.0/0}
        - ipBlock: {cidr: "::/0"}
      ports:
        - {port: {{ .port }}, protocol: TCP}
    {{- end }}
    {{- end }}
    {{- if and .Values.apiServer.enabled $policy.apiServerCIDRs }}
    - to:
        {{- range $policy.apiServerCIDRs }}
        - ipBlock: {cidr: {{ . | quote }}}
        {{- end }}
      ports:
        - {port: 6443, protocol: TCP}
        - {port: 443, protocol: TCP}
    {{- end }}
{{- end -}}
