{{- define "flowwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains "flowwatch" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-flowwatch" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "flowwatch.selectorLabels" -}}
app.kubernetes.io/name: flowwatch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flowwatch.labels" -}}
{{ include "flowwatch.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "flowwatch.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "flowwatch.hubbleSecret" -}}
{{- if .Values.hubbleTLS.certManager.enabled -}}
{{ include "flowwatch.fullname" . }}-hubble
{{- else -}}
{{ required "hubbleTLS.enabled needs hubbleTLS.secret or hubbleTLS.certManager.enabled" .Values.hubbleTLS.secret }}
{{- end -}}
{{- end -}}

{{- /* What the size stands for: files/sizing.yaml. */ -}}
{{- define "flowwatch.size" -}}
{{- get (.Files.Get "files/sizing.yaml" | fromYaml) .Values.size | toYaml -}}
{{- end -}}
