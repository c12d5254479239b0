{{/* The server's spread constraints; one without a labelSelector counts the server's pods. */}}
{{- define "beanscale.topologySpread" -}}
{{- $constraints := list }}
{{- $ours := dict "matchLabels" (include "beanscale.selectorLabels" (list . "server") | fromYaml) }}
{{- range .Values.server.topologySpreadConstraints }}
{{- $constraints = append $constraints (ternary . (merge (dict "labelSelector" $ours) .) (hasKey . "labelSelector")) }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}
