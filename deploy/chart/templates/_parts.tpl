{{/* Labels that every object of a part carries; `name` of it is what selectors match. */}}
{{- define "sotto.labels" -}}
app.kubernetes.io/part-of: sotto
app.kubernetes.io/name: {{ . }}
{{- end }}

{{/* A part's image: by its name, its digest if there is one, and all values. */}}
{{- define "sotto.image" -}}
{{- $image := printf "%s/%s" .values.image.repository .name -}}
{{- if .digest -}}
{{ $image }}@{{ .digest }}
{{- else -}}
{{ $image }}:{{ .values.image.tag | default .chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Where the API server is, if the Service `kubernetes` is not to be used. */}}
{{- define "sotto.apiServer" -}}
{{- if .Values.apiServer.host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.apiServer.host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.apiServer.port | quote }}
{{- end }}
{{- end }}

{{/* Refuses what cannot work, before anything is applied. */}}
{{- define "sotto.check" -}}
{{- if ne .Release.Namespace "sotto-system" -}}
{{- fail "Sotto lives in the namespace sotto-system: helm install sotto … --namespace sotto-system" -}}
{{- end -}}
{{- if and (not .Values.root.pins) (not .Values.root.trustOnFirstUse) -}}
{{- fail "root.pins is empty: run `sotto root create`, apply what it prints, and set root.pins to its pin" -}}
{{- end -}}
{{- end }}

{{/* Settings that daemons and controller must have alike. */}}
{{- define "sotto.settings" -}}
{{- include "sotto.check" . -}}
trust_domain = {{ required "trustDomain is missing: set it to the one that `sotto root create` was given" .Values.trustDomain | quote }}
cluster_pod_ranges = {{ required "clusterPodRanges is missing: set it to every pod address of the cluster" .Values.clusterPodRanges | toJson }}
service_ranges = {{ .Values.serviceRanges | toJson }}
underlay_ranges = {{ required "underlayRanges is missing: set it to where the nodes' own addresses lie" .Values.underlayRanges | toJson }}
log_format = {{ .Values.logFormat | quote }}
{{- end }}
