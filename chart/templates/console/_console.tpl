{{- define "beanscale.consoleAccount" -}}
{{- .Values.console.serviceAccount.name | default (include "beanscale.object" (list . "console")) }}
{{- end }}

{{/* The Secret in which the console stores its generated password; empty if it generates none. */}}
{{- define "beanscale.consoleSecret" -}}
{{- with .Values.console }}
{{- if and .enabled (eq .auth.mode "password") (not .auth.existingSecret.name) }}
{{- include "beanscale.object" (list $ "console") }}
{{- end }}
{{- end }}
{{- end }}

{{/* https if the console serves TLS itself, else http: the URL's scheme, and the name of its port. */}}
{{- define "beanscale.consoleScheme" -}}
{{ ternary "https" "http" (ne (.Values.console.tls.secretName | default "") "") }}
{{- end }}

{{/* The Service's port: that of the scheme by default. */}}
{{- define "beanscale.consolePort" -}}
{{ .Values.console.service.port | default (ternary 443 80 (eq (include "beanscale.consoleScheme" .) "https")) | int }}
{{- end }}

{{/* The command or URL that opens the console, for the NOTES. */}}
{{- define "beanscale.consoleWay" -}}
{{- $service := printf "%s %s" (include "beanscale.namespace" .) (include "beanscale.object" (list . "console")) }}
{{- $scheme := include "beanscale.consoleScheme" . }}
{{- $port := include "beanscale.consolePort" . }}
{{- with .Values.console }}
{{- if .ingress.enabled -}}
{{ ternary "https" "http" (gt (len .ingress.tls) 0) }}://{{ .ingress.hosts | first | default "ADDRESS-OF-THE-INGRESS" | replace "*" "ANY-NAME" }}{{ .pathPrefix }}/
{{- else if .service.nodePort -}}
{{ $scheme }}://ANY-NODE:{{ int .service.nodePort }}{{ .pathPrefix }}/
{{- else if eq .service.type "NodePort" -}}
kubectl get service -n {{ $service }} -o jsonpath='{.spec.ports[0].nodePort}'   # the PORT of {{ $scheme }}://ANY-NODE:PORT{{ .pathPrefix }}/
{{- else if ne .service.type "ClusterIP" -}}
kubectl get service -n {{ $service }}   # {{ $scheme }}://EXTERNAL-IP:{{ $port }}{{ .pathPrefix }}/
{{- else -}}
kubectl port-forward -n {{ replace " " " service/" $service }} 8081:{{ $port }}   # {{ $scheme }}://127.0.0.1:8081{{ .pathPrefix }}/
{{- end }}
{{- end }}
{{- end }}
