{{/* Egress rules, shared by the parts that have the same way to go. */}}
{{- define "beanscale.egressDns" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- define "beanscale.egressApiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{/* To the release's own beanstalkd by its pods. To others by their port: they may be host names, which a policy can't name. */}}
{{- define "beanscale.egressBeanstalkd" -}}
{{- if .Values.beanstalkd.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "beanscale.selectorLabels" (list . "beanstalkd") | nindent 10 }}
  ports:
    - {port: 11300, protocol: TCP}
{{- end }}
{{- $ports := list }}
{{- range .Values.beanstalkd.external }}
{{- $ports = append $ports (.port | default 11300 | int) }}
{{- end }}
{{- with $ports | uniq }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}
