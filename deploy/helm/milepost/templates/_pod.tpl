{{/* What the Pods of all programs have in common. Context: root, component, values, args, env, ports, isJob. */}}
{{- define "milepost.podMetadata" -}}
labels: {{- include "milepost.selector" .root | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/part-of: milepost
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "milepost.podSpec" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $secrets := include "milepost.secrets" . | fromJsonArray -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "milepost.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{ toJson .args }}
    env:
      {{- include "milepost.env" . | trim | nindent 6 }}
      {{- with .env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $values.extraEnvFrom }}
    envFrom: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .ports }}
    ports: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if not .isJob }}
    startupProbe: {{- toYaml (merge (dict "httpGet" (dict "path" "/live" "port" "metrics")) $values.startupProbe) | nindent 6 }}
    livenessProbe: {{- toYaml (merge (dict "httpGet" (dict "path" "/live" "port" "metrics")) $values.livenessProbe) | nindent 6 }}
    readinessProbe: {{- toYaml (merge (dict "httpGet" (dict "path" "/ready" "port" "metrics")) $values.readinessProbe) | nindent 6 }}
    {{- if hasKey $values "service" }}
    # Until every proxy knows that the Pod goes, it serves.
    lifecycle: {preStop: {sleep: {seconds: 5}}}
    {{- end }}
    {{- end }}
    resources: {{- toYaml $values.resources | nindent 6 }}
    securityContext: {{- toYaml $root.Values.securityContext | nindent 6 }}
    {{- if or $secrets $values.extraVolumeMounts }}
    volumeMounts:
      {{- range $secrets }}
      - {name: {{ .folder }}, mountPath: /etc/milepost/{{ .folder }}, readOnly: true}
      {{- end }}
      {{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- end }}
  {{- with $values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or $secrets $values.extraVolumes }}
volumes:
  {{- range $secrets }}
  - name: {{ .folder }}
    secret:
      secretName: {{ .secret | quote }}
      # Readable for the group that is `fsGroup`
      defaultMode: 0440
      {{- with .keys }}
      items: {{- range . }}
        - {key: {{ . | quote }}, path: {{ . | quote }}}
      {{- end }}
      {{- end }}
  {{- end }}
  {{- with $values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- $selector := merge (dict "app.kubernetes.io/component" .component) (include "milepost.selector" $root | fromYaml) }}
  {{- range $values.topologySpreadConstraints }}
  - {{ toYaml (mergeOverwrite (dict "labelSelector" (dict "matchLabels" $selector)) .) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A Deployment that replaces one Pod after the other. Its members of a consumer group are dynamic: a Pod that stops hands its
partitions over at once. */}}
{{- define "milepost.deployment" -}}
{{- $root := .root }}
{{- $values := .values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "milepost.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "milepost.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if kindIs "invalid" $values.replicas | not }}
  replicas: {{ int $values.replicas }}
  {{- end }}
  minReadySeconds: {{ int $values.minReadySeconds }}
  revisionHistoryLimit: 3
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector:
    matchLabels: {{- include "milepost.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata: {{- include "milepost.podMetadata" . | nindent 6 }}
    spec:
      serviceAccountName: {{ include "milepost.serviceAccountName" $root }}
      terminationGracePeriodSeconds: {{ add (ceil $values.stopSeconds) 10 }}
      {{- include "milepost.podSpec" . | nindent 6 }}
{{- end }}
