{{- define "flotilla.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "flotilla.headless" -}}
{{- include "flotilla.name" . }}-nodes
{{- end -}}

{{- /* Names of the nodes end like this, for clients of other namespaces too. */ -}}
{{- define "flotilla.domain" -}}
{{- include "flotilla.headless" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "flotilla.selector" -}}
app.kubernetes.io/name: flotilla
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flotilla.labels" -}}
{{ include "flotilla.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "flotilla.secret" -}}
{{- .Values.existingSecret | default (printf "%s-cluster" (include "flotilla.name" .)) -}}
{{- end -}}

{{- /* The cluster address of every node, the same list everywhere. */ -}}
{{- define "flotilla.routes" -}}
{{- $name := include "flotilla.name" . -}}
{{- $domain := include "flotilla.domain" . -}}
{{- $routes := list -}}
{{- range $i := until (int .Values.replicas) -}}
{{- $routes = append $routes (printf "nats://%s-%d.%s:6222" $name $i $domain) -}}
{{- end -}}
{{- join "," $routes -}}
{{- end -}}
