{{- define "beanscale.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The rule of `helm create`; but a Service's name can't have dots, nor, before Kubernetes 1.35, begin with a digit. */}}
{{- define "beanscale.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name }}
{{- $fullname := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) }}
{{- if regexMatch "^[0-9]" $fullname }}
{{- $fullname = printf "%s-%s" .Chart.Name (.Values.fullnameOverride | default .Release.Name) }}
{{- end }}
{{- $fullname | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* (list $ "server") → <fullname>-server. At most 52 characters: Kubernetes adds 11 to a StatefulSet's name and puts it into a label. */}}
{{- define "beanscale.object" -}}
{{- $part := index . 1 }}
{{- printf "%s-%s" (include "beanscale.fullname" (index . 0) | trunc (int (sub 51 (len $part))) | trimSuffix "-") $part }}
{{- end }}

{{/* (list $ "auth-delegator") → the name of an object outside the release's namespace, unique among releases with the same name. */}}
{{- define "beanscale.clusterObject" -}}
{{- printf "%s:%s:%s" (include "beanscale.namespace" (index . 0)) (include "beanscale.fullname" (index . 0)) (index . 1) }}
{{- end }}

{{- define "beanscale.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "beanscale.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "beanscale.object" (list . "server")) }}
{{- end }}

{{- define "beanscale.apiService" -}}
v1beta1.external.metrics.k8s.io
{{- end }}

{{/* (list $ "server"): labels that never change while a release exists. */}}
{{- define "beanscale.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "beanscale.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end }}

{{/* (list $ "server" extraLabels): an object's labels. Extra labels can't override labels that selectors use. */}}
{{- define "beanscale.labels" -}}
{{- $root := index . 0 }}
{{- $own := include "beanscale.selectorLabels" . | fromYaml }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63) }}
{{- $_ := set $own "app.kubernetes.io/version" ($root.Chart.AppVersion | trunc 63) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $given := ternary (last .) dict (gt (len .) 2) | default dict }}
{{- toYaml (merge $own $given $root.Values.commonLabels) }}
{{- end }}

{{/* (list $ "server" podLabels): without versions, which would restart unchanged pods at each upgrade. */}}
{{- define "beanscale.podLabels" -}}
{{- toYaml (merge (include "beanscale.selectorLabels" . | fromYaml) (last . | default dict) (index . 0).Values.commonLabels) }}
{{- end }}

{{/* (list $ .Values.image) → registry/repository:tag, or @digest. */}}
{{- define "beanscale.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- with $root.Values.global.imageRegistry | default $image.registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}
