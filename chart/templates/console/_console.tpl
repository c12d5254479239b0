{{- define "beanscale.consoleAccount" -}}
{{- with .Values.console.serviceAccount }}
{{- .name | default (ternary (include "beanscale.object" (list $ "console")) "default" .create) }}
{{- end }}
{{- end }}

{{/* The Secret in which the console stores its generated password; empty if it generates none. */}}
{{- define "beanscale.consoleSecret" -}}
{{- with .Values.console }}
{{- if and .enabled (eq .auth.mode "password") (not .auth.existingSecret.name) }}
{{- include "beanscale.object" (list $ "console") }}
{{- end }}
{{- end }}
{{- end }}

{{/* The command or URL that opens the console, for the NOTES. */}}
{{- define "beanscale.consoleWay" -}}
{{- $service := printf "%s %s" (include "beanscale.namespace" .) (include "beanscale.object" (list . "console")) }}
{{- with .Values.console }}
{{- if .ingress.enabled -}}
{{ ternary "https" "http" (gt (len .ingress.tls) 0) }}://{{ .ingress.hosts | first | default "ADDRESS-OF-THE-INGRESS" }}{{ .pathPrefix }}/
{{- else if .service.nodePort -}}
http://ANY-NODE:{{ int .service.nodePort }}{{ .pathPrefix }}/
{{- else if ne .service.type "ClusterIP" -}}
kubectl get service -n {{ $service }}   # it is at this address{{ with .pathPrefix }}, at {{ . }}/{{ end }}
{{- else -}}
kubectl port-forward -n {{ replace " " " service/" $service }} 8081:{{ int .service.port }}   # http://127.0.0.1:8081{{ .pathPrefix }}/
{{- end }}
{{- end }}
{{- end }}
