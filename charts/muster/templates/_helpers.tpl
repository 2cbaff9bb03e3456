{{- define "muster.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "muster.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else }}
{{- $name := include "muster.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of cluster-wide objects. Releases with the same name in different namespaces do not conflict. */}}
{{- define "muster.clusterWideName" -}}
{{ .Release.Namespace }}-{{ include "muster.fullname" . }}
{{- end }}

{{- define "muster.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "muster.fullname" .) }}
{{- else }}
{{- required "serviceAccount.name is required with serviceAccount.create=false: name a ServiceAccount that exists" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "muster.leaseName" -}}
{{ .Values.leaderElection.leaseName | default (include "muster.fullname" .) }}
{{- end }}

{{- define "muster.keySecretName" -}}
{{ include "muster.fullname" . }}-key
{{- end }}

{{- define "muster.apiName" -}}
{{ include "muster.fullname" . }}-api
{{- end }}

{{- define "muster.apiSecretName" -}}
{{ .Values.api.tls.secretName | default (printf "%s-tls" (include "muster.apiName" .)) }}
{{- end }}

{{- define "muster.reportReaderName" -}}
{{ include "muster.clusterWideName" . }}-report-reader
{{- end }}

{{- define "muster.selectorLabels" -}}
app.kubernetes.io/name: {{ include "muster.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "muster.labels" -}}
{{ include "muster.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "muster.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The rules for every watched namespace. */}}
{{- define "muster.namespaceRules" -}}
- apiGroups: [muster.dev]
  resources: [fleetreports, launchtemplatepins, workerfleets]
  verbs: [list, watch, patch]
- apiGroups: [muster.dev]
  resources: [fleetreports/status, launchtemplatepins/status, workerfleets/status, workerjobs/status]
  verbs: [update]
# muster deletes a job after its ttlSecondsAfterFinished.
- apiGroups: [muster.dev]
  resources: [workerjobs]
  verbs: [list, watch, patch, delete]
# Required with OwnerReferencesPermissionEnforcement, because revisions block the deletion of their owner.
- apiGroups: [muster.dev]
  resources: [workerfleets/finalizers, workerjobs/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, patch, delete]
# Contain user data and values of parameters. Read by name; watched if they have the label muster.dev/watch=true.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get, list, watch]
{{ include "muster.eventRules" . }}
{{- end }}

{{- define "muster.eventRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "muster.subjects" -}}
- kind: ServiceAccount
  name: {{ include "muster.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
