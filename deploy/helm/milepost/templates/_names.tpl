{{/* Names and labels. The longest ending of a name, `-dashboard-programme`, leaves 43 of 63 characters. */}}
{{- define "milepost.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 43 | trimSuffix "-" }}
{{- end }}

{{- define "milepost.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 43 | trimSuffix "-" }}
{{- else if contains (include "milepost.name" .) .Release.Name }}
{{- .Release.Name | trunc 43 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "milepost.name" .) | trunc 43 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "milepost.selector" -}}
app.kubernetes.io/name: {{ include "milepost.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object; of those of a program, `component` is added. */}}
{{- define "milepost.labels" -}}
{{ include "milepost.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: milepost
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "milepost.image" -}}
{{- with .Values.image -}}
{{ with .registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "milepost.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "milepost.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{/* Where people reach the board; without `boardUrl` its Service. */}}
{{- define "milepost.boardUrl" -}}
{{- default (printf "http://%s-board.%s.svc:%d" (include "milepost.fullname" .) .Release.Namespace (int .Values.board.service.port)) .Values.boardUrl | trimSuffix "/" }}
{{- end }}

{{/* Ports of the bootstrap servers, each once, as a list in JSON. */}}
{{- define "milepost.kafkaPorts" -}}
{{- $ports := list }}
{{- range .Values.kafka.bootstrapServers }}{{ $ports = append $ports (regexFind "[0-9]+$" . | int) }}{{ end }}
{{- $ports | uniq | toJson }}
{{- end }}
