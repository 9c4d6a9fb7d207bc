{{/* Names, labels, images and parts of pods that several templates share. */}}

{{- define "lookbehind.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The prefix of all names; 40 characters at most, so that what is appended fits into 63. */}}
{{- define "lookbehind.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "lookbehind.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lookbehind.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lookbehind.selector" -}}
app.kubernetes.io/name: {{ include "lookbehind.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lookbehind.labels" -}}
{{ include "lookbehind.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* An image: (list $ NAME). A name that has a tag or digest is taken as it is. */}}
{{- define "lookbehind.image" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if or (contains ":" $name) (contains "@" $name) -}}
{{- $name -}}
{{- else -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $name }}:{{ default $root.Chart.AppVersion $root.Values.image.tag -}}
{{- end -}}
{{- end -}}

{{/* What every pod has: no rights, and no way to get any. User 10001 is that of the images. */}}
{{- define "lookbehind.podSecurity" -}}
automountServiceAccountToken: false
# A Service named after the release would set variables such as LOOKBEHIND_PORT, which the programs would read.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lookbehind.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* The address of the coordinator, as its certificate names it. */}}
{{- define "lookbehind.host" -}}
{{ include "lookbehind.fullname" . }}-coordinator
{{- end -}}

{{- define "lookbehind.url" -}}
https://{{ include "lookbehind.host" . }}:7070
{{- end -}}

{{/* All names that the coordinator's certificate must have, one per line. */}}
{{- define "lookbehind.hosts" -}}
{{ include "lookbehind.host" . }}
{{ include "lookbehind.host" . }}.{{ .Release.Namespace }}
{{ include "lookbehind.host" . }}.{{ .Release.Namespace }}.svc
localhost
{{- range .Values.credentials.hosts }}
{{ . }}
{{- end }}
{{- end -}}

{{/* The Secret of a holder of credentials: (list $ HOLDER). */}}
{{- define "lookbehind.secret" -}}
{{- $root := index . 0 -}}
{{- $holder := index . 1 -}}
{{- if eq $root.Values.credentials.from "existing" -}}
{{- index $root.Values.credentials.existing $holder -}}
{{- else -}}
{{ include "lookbehind.fullname" $root }}-{{ $holder }}
{{- end -}}
{{- end -}}

{{/* A Secret of credentials as a volume: (list $ SECRET). Certificates of cert-manager get the names that the programs read. */}}
{{- define "lookbehind.credentials" -}}
{{- $root := index . 0 -}}
name: credentials
secret:
  secretName: {{ index . 1 }}
  defaultMode: 0440
  {{- if eq $root.Values.credentials.from "cert-manager" }}
  items:
    - {key: tls.crt, path: cert.pem}
    - {key: tls.key, path: key.pem}
    - {key: ca.crt, path: ca.pem}
  {{- end }}
{{- end -}}

{{/* A pool with the defaults for what it does not set: (list $ NAME); as JSON. What it sets to null stays null. */}}
{{- define "lookbehind.pool" -}}
{{- $root := index . 0 -}}
{{- $given := default dict (index $root.Values.pools (index . 1)) -}}
{{- $pool := dict -}}
{{- range $key, $value := $root.Values.poolDefaults -}}
{{- $_ := set $pool $key (hasKey $given $key | ternary (index $given $key) $value) -}}
{{- end -}}
{{- toJson $pool -}}
{{- end -}}

{{/* Names are looked up in the namespace of the cluster's own services. */}}
{{- define "lookbehind.egress.dns" -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
