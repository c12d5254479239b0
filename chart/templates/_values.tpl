{{/* Makes null mean "not set" in `.Values`, which all templates share: removes each key without content, and adds the defaults that Helm removes
     for such a key. Every template starts with it, because Helm defines no order of templates. */}}
{{- define "beanscale.values" -}}
{{- if not .Values.withoutNulls }}
{{- range $key, $value := omit .Values "global" "extraObjects" }}
{{- include "beanscale.withoutNull" (list $.Values $key $value) }}
{{- end }}
{{- range .Values.metrics }}
{{- if not .onFailure }}
{{- $_ := unset . "onFailure" }}
{{- end }}
{{- end }}
{{- include "beanscale.withDefaults" (list .Values (include "beanscale.defaults" . | fromYaml)) }}
{{- $_ := set .Values "withoutNulls" true }}
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

{{/* (list $map $defaults): adds what the map lacks. */}}
{{- define "beanscale.withDefaults" -}}
{{- $map := index . 0 }}
{{- range $key, $default := index . 1 }}
{{- if not (hasKey $map $key) }}
{{- $_ := set $map $key $default }}
{{- else if kindIs "map" $default }}
{{- include "beanscale.withDefaults" (list (get $map $key) $default) }}
{{- end }}
{{- end }}
{{- end }}

{{/* What applies to a key without content: the default in values.yaml. Other keys can be absent, or the schema requires them. */}}
{{- define "beanscale.defaults" -}}
global: {}
commonLabels: {}
clusterDomain: cluster.local
imagePullSecrets: []
preflight: {enabled: true}
apiService: {create: true}
tls:
  mode: self
  minVersion: "1.3"
  self: {duration: 720h, caDuration: 8760h}
  certManager: {existingIssuer: {enabled: false, kind: Issuer}, duration: 720h, renewBefore: 240h}
  existingSecret: {}
rbac: {authReader: {create: true}, explain: true, admissionPolicy: true}
serviceAccount: {create: true}
server:
  maxAge: 15s
  discovery: {tubes: true}
  logging: {level: info, format: json, audit: refusals}
  updateStrategy: {type: RollingUpdate}
  revisionHistoryLimit: 3
  hostNetwork: {enabled: false}
service: {type: ClusterIP, port: 443}
podDisruptionBudget: {maxUnavailable: 1}
networkPolicy: {enabled: true, apiServerPorts: [443, 6443, 8443], dnsPorts: [53]}
beanstalkd:
  persistence: {enabled: false, size: 1Gi, accessModes: [ReadWriteOnce], whenDeleted: Retain}
  service: {}
  networkPolicy: {}
metrics: []
tenancy: []
scaling: {enabled: true}
featureGates: {HPAScaleToZero: false}
forwardTo: {port: 443}
console:
  auth: {mode: password, existingSecret: {key: password}}
  logging: {level: info, format: json}
  tls: {}
  service: {type: ClusterIP}
  ingress: {enabled: false, hosts: [], tls: []}
  serviceAccount: {create: true}
  networkPolicy: {}
helloWorld:
  autoscaling: {immediate: true}
  service: {type: ClusterIP, port: 80}
serviceMonitor: {enabled: false, authorization: {credentials: {key: token}}}
prometheusRule: {enabled: false, buriedJobs: 0, certificateLifeLeftPercent: 25, disabled: {}}
dashboard: {enabled: false}
{{- end }}
