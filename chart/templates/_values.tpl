{{/* Makes null mean "not set" in `.Values`, which all templates share: removes each key without content, and adds the maps that templates read.
     Helm itself removes only keys that have a default. Every template starts with it, because Helm defines no order of templates. */}}
{{- define "beanscale.values" -}}
{{- if not .Values.withoutNulls }}
{{- range $key, $value := omit .Values "global" "extraObjects" }}
{{- include "beanscale.withoutNull" (list $.Values $key $value) }}
{{- end }}
{{- $_ := merge .Values (include "beanscale.emptyValues" . | fromYaml) (dict "withoutNulls" true) }}
{{- end }}
{{- end }}

{{/* (list $map "key" value): removes the key if its value is null, and nulls within the value. */}}
{{- define "beanscale.withoutNull" -}}
{{- $map := index . 0 }}
{{- $key := index . 1 }}
{{- $value := index . 2 }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $map $key }}
{{- else if kindIs "map" $value }}
{{- range $inner, $content := $value }}
{{- include "beanscale.withoutNull" (list $value $inner $content) }}
{{- end }}
{{- else if kindIs "slice" $value }}
{{- range $element := $value }}
{{- if kindIs "map" $element }}
{{- range $inner, $content := $element }}
{{- include "beanscale.withoutNull" (list $element $inner $content) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A duration such as 1h30m → its seconds. */}}
{{- define "beanscale.seconds" -}}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9.]+(ms|s|m|h)" . -1 }}
{{- $unit := regexFind "[a-z]+" . }}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit .) (get (dict "ms" 0.001 "s" 1 "m" 60 "h" 3600) $unit)) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{/* What templates read of values that can be null. */}}
{{- define "beanscale.emptyValues" -}}
global: {}
commonLabels: {}
imagePullSecrets: []
tls:
  existingSecret: {}
  certManager: {existingIssuer: {kind: Issuer}}
server:
  updateStrategy: {}
  hostNetwork: {enabled: false}
beanstalkd:
  persistence: {}
  service: {}
  networkPolicy: {}
metrics: []
tenancy: []
featureGates: {}
forwardTo: {port: 443}
console:
  auth: {existingSecret: {key: password}}
  ingress: {hosts: [], tls: []}
  networkPolicy: {}
serviceMonitor: {authorization: {credentials: {key: token}}}
prometheusRule: {certificateLifeLeftPercent: 25, disabled: {}}
dashboard: {}
{{- end }}
