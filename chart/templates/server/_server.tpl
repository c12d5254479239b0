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

{{/* The Deployment's strategy. By default, an update first adds a pod. With hostNetwork it first removes one, because each node has one port;
     so it does if maxSurge is 0, because Kubernetes rejects 0 for both. */}}
{{- define "beanscale.updateStrategy" -}}
{{- $strategy := .Values.server.updateStrategy }}
{{- $type := $strategy.type | default "RollingUpdate" -}}
type: {{ $type }}
{{- if eq $type "RollingUpdate" }}
{{- $given := $strategy.rollingUpdate | default dict }}
{{- $zero := list "0" "0%" }}
{{- $replaces := or (has (toString $given.maxSurge) $zero) (and .Values.server.hostNetwork.enabled (not (has (toString $given.maxUnavailable) $zero))) }}
{{- $defaults := ternary (dict "maxUnavailable" 1 "maxSurge" 0) (dict "maxUnavailable" 0 "maxSurge" 1) $replaces }}
rollingUpdate:
  {{- range $key := list "maxSurge" "maxUnavailable" }}
  {{ $key }}: {{ get (ternary $given $defaults (hasKey $given $key)) $key | toJson }}
  {{- end }}
{{- end }}
{{- end }}

{{/* (dict "livenessProbe" {…} …): these probes. One with another handler than the default httpGet has only that; one without any isn't rendered. */}}
{{- define "beanscale.probes" -}}
{{- range $name, $probe := . }}
{{- $probe := $probe | default dict }}
{{- $other := or $probe.exec $probe.grpc $probe.tcpSocket }}
{{- if or $other $probe.httpGet }}
{{ $name }}:
  {{- toYaml (ternary (omit $probe "httpGet") $probe (not (empty $other))) | nindent 2 }}
{{- end }}
{{- end }}
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
