{{/* The server's spread constraints; one without a labelSelector counts the server's pods. */}}
{{- define "beanscale.topologySpread" -}}
{{- $constraints := list }}
{{- $ours := dict "matchLabels" (include "beanscale.selectorLabels" (list . "server") | fromYaml) }}
{{- range .Values.server.topologySpreadConstraints }}
{{- if hasKey . "labelSelector" }}
{{- $constraints = append $constraints . }}
{{- else }}
{{- $constraints = append $constraints (set (deepCopy .) "labelSelector" $ours) }}
{{- end }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}

{{/* The Secret with the serving certificate, whoever fills it. */}}
{{- define "beanscale.servingSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}
{{- .Values.tls.existingSecret.name }}
{{- else }}
{{- include "beanscale.object" (list . (ternary "tls" "serving-cert" (eq .Values.tls.mode "certManager"))) }}
{{- end }}
{{- end }}
