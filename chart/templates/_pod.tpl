{{/* (list $ .Values.server): the fields that every pod spec shares. */}}
{{- define "beanscale.pod" -}}
{{- $root := index . 0 }}
{{- $part := index . 1 }}
{{- /* Environment variables with Service addresses, BEANSCALE_…, would be parsed as options. */ -}}
enableServiceLinks: false
{{- with include "beanscale.pullSecrets" $root | fromYamlArray }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (list $ .Values.image .Values.server): the fields that every container shares. */}}
{{- define "beanscale.container" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- $part := index . 2 -}}
image: {{ include "beanscale.image" (list $root $image) | quote }}
imagePullPolicy: {{ $image.pullPolicy | quote }}
{{- with $root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* All pull secrets as objects; umbrella charts list them under `global` as names or objects. */}}
{{- define "beanscale.pullSecrets" -}}
{{- $secrets := list }}
{{- range concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets }}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) }}
{{- end }}
{{- $secrets | uniq | toYaml }}
{{- end }}

{{/* (list 2 annotations): the annotations, indented; nothing for an empty map. */}}
{{- define "beanscale.annotations" -}}
{{- if last . }}
{{- printf "annotations:\n%s" (last . | toYaml | indent 2) | nindent (first . | int) }}
{{- end }}
{{- end }}
