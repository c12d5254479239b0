{{/* A `service` → the IP families in the Service's spec; nothing if none are set. */}}
{{- define "beanscale.ipFamilies" }}
{{- range $key, $value := pick . "ipFamilyPolicy" "ipFamilies" }}
{{- with $value }}
  {{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The networks from which a server with hostNetwork connects: networkPolicy.nodeCIDRs, by default the addresses of the present nodes. Without
     a cluster (helm template, Argo CD) `lookup` returns nothing. */}}
{{- define "beanscale.nodeCidrs" -}}
{{- $cidrs := .Values.networkPolicy.nodeCIDRs | default list }}
{{- if not $cidrs }}
{{- range (lookup "v1" "Node" "" "").items }}
{{- range .status.addresses }}
{{- if eq .type "InternalIP" }}
{{- $cidrs = append $cidrs (printf "%s/%d" .address (ternary 128 32 (contains ":" .address))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $cidrs }}
{{- end }}

{{/* Egress rules that several components share. */}}
{{- define "beanscale.egressDns" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "beanscale.egressApiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.apiServerCIDRs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}

{{/* To the bundled beanstalkd by its pods, to a StatefulSet's pods by their namespace, and to other servers by port and the peers
     in externalTo: their host may be a name, which a NetworkPolicy can't select. */}}
{{- define "beanscale.egressBeanstalkd" -}}
{{- if .Values.beanstalkd.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "beanscale.selectorLabels" (list . "beanstalkd") | nindent 10 }}
  ports:
    - {port: 11300, protocol: TCP}
{{- end }}
{{- $anywhere := list }}
{{- $namespaces := dict }}
{{- range .Values.beanstalkd.external }}
{{- $port := .port | default 11300 | int }}
{{- if .statefulSet }}
{{- $namespace := include "beanscale.statefulSetNamespace" (list $ .statefulSet) }}
{{- $_ := set $namespaces $namespace (append (get $namespaces $namespace | default list) $port) }}
{{- else }}
{{- $anywhere = append $anywhere $port }}
{{- end }}
{{- end }}
{{- range $namespace, $ports := $namespaces }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $namespace | quote }}
  ports:
    {{- range $ports | uniq }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- with $anywhere | uniq }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $.Values.beanstalkd.networkPolicy.externalTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
