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
