{{/* What selects the scaler's pods; it never changes, for a Deployment's selector cannot. */}}
{{- define "ai-hpa.selector" -}}
app.kubernetes.io/name: ai-hpa
app.kubernetes.io/component: scaler
{{- end }}

{{/* On every object but a pod. */}}
{{- define "ai-hpa.labels" -}}
{{ include "ai-hpa.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "ai-hpa.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "ai-hpa.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: ai-hpa-scaler
    namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "ai-hpa.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "ai-hpa.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Same rules in a ClusterRole, or in a Role in each namespace; with "facts" also what holds for the cluster. */}}
{{- define "ai-hpa.rules" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch]
- apiGroups: [autoscaling.k8s.io]
  resources: [verticalpodautoscalers]
  verbs: [list, watch]
{{- if .facts }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [inferenceservice-config, config-autoscaler, config-observability]
  verbs: [get]
{{- end }}
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, patch]
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices]
  verbs: [get, list, watch, patch]
- apiGroups: [serving.knative.dev]
  resources: [revisions]
  verbs: [get, list, watch, patch]
- apiGroups: [autoscaling.internal.knative.dev]
  resources: [podautoscalers]
  verbs: [get, list, watch, patch]
- apiGroups: [ai-hpa.dev]
  resources: [predictivescalers]
  verbs: [get, list, watch, create, patch]
- apiGroups: [ai-hpa.dev]
  resources: [predictivescalers/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
