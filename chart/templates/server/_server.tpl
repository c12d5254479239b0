{{/* The server's topology spread constraints. One without a labelSelector gets the server's. */}}
{{- define "beanscale.topologySpread" -}}
{{- $constraints := list }}
{{- $selector := dict "matchLabels" (include "beanscale.selectorLabels" (list . "server") | fromYaml) }}
{{- range .Values.server.topologySpreadConstraints }}
{{- if hasKey . "labelSelector" }}
{{- $constraints = append $constraints . }}
{{- else }}
{{- $constraints = append $constraints (set (deepCopy .) "labelSelector" $selector) }}
{{- end }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}

{{/* The Secret with the serving certificate. */}}
{{- define "beanscale.servingSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}
{{- .Values.tls.existingSecret.name }}
{{- else }}
{{- include "beanscale.object" (list . (ternary "tls" "serving-cert" (eq .Values.tls.mode "certManager"))) }}
{{- end }}
{{- end }}

{{/* rules.yaml; empty without rules and tenancy. With tenancy, the release's namespace can also access the release's own tubes: the
     hello-world worker's and those of `helm test`. */}}
{{- define "beanscale.rules" -}}
{{- $tenancy := .Values.tenancy }}
{{- $own := list }}
{{- if .Values.helloWorld.enabled }}
{{- $own = append $own .Values.helloWorld.tube }}
{{- end }}
{{- if .Values.test.enabled }}
{{- $own = append $own "beanscale-smoke-*" }}
{{- end }}
{{- if and $tenancy $own }}
{{- $tenancy = append $tenancy (dict "namespaces" (list (include "beanscale.namespace" .)) "tubes" $own) }}
{{- end }}
{{- if or .Values.metrics $tenancy }}
{{- toYaml (dict "metrics" .Values.metrics "tenancy" $tenancy) }}
{{- end }}
{{- end }}

{{/* The parts of the server's configuration in files: ConfigMap <fullname>-<part>, mounted at /etc/beanscale/<part>. */}}
{{- define "beanscale.files" -}}
{{- $parts := list }}
{{- if include "beanscale.rules" . }}
{{- $parts = append $parts "rules" }}
{{- end }}
{{- if .Values.forwardTo.service }}
{{- $parts = append $parts "forward" }}
{{- end }}
{{- toYaml $parts }}
{{- end }}
