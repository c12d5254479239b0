{{/* (list "console.service" .Values.console.service) → the IP families in the Service's spec; nothing if none are set. Kubernetes
     accepts two only with a policy for two. */}}
{{- define "beanscale.ipFamilies" }}
{{- $which := index . 0 }}
{{- with index . 1 }}
{{- $policy := .ipFamilyPolicy | default (ternary "PreferDualStack" "" (eq (len (.ipFamilies | default list)) 2)) }}
{{- if and (eq $policy "SingleStack") (eq (len (.ipFamilies | default list)) 2) }}
{{- fail (printf "%s: ipFamilyPolicy SingleStack allows only one of ipFamilies %s: remove one, or set ipFamilyPolicy to PreferDualStack" $which (join ", " .ipFamilies)) }}
{{- end }}
{{- with .ipFamilies }}
  ipFamilies: {{ toJson . }}
{{- end }}
{{- with $policy }}
  ipFamilyPolicy: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* An IPv4 or IPv6 address, or a network such as 192.0.2.0/24 → "true" if it is valid. The schema checks the characters. */}}
{{- define "beanscale.isNetwork" -}}
{{- $parts := splitList "/" . }}
{{- $v4 := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])([.](25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}$" }}
{{- $isV4 := regexMatch (printf "^%s" $v4) (first $parts) }}
{{- $v6 := regexReplaceAll (printf ":%s" $v4) (first $parts) ":0:0" }}
{{- $groups := "([0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4})*)?" }}
{{- $number := len (regexFindAll "[0-9A-Fa-f]+" $v6 -1) }}
{{- $isV6 := and (regexMatch (printf "^%s(::%s)?$" $groups $groups) $v6) (ternary (lt $number 8) (eq $number 8) (contains "::" $v6)) }}
{{- $isPrefix := regexMatch "^(0|[1-9][0-9]{0,2})$" (last $parts) }}
{{- if and (or $isV4 $isV6) (or (eq (len $parts) 1) (and $isPrefix (le (int (last $parts)) (ternary 32 128 $isV4)))) }}true{{ end }}
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
