{{/* 0 | 1: annotations of an object that exists while `helm test` runs; the pod (1) comes last. Always deleted, because uninstall ignores hooks. */}}
{{- define "beanscale.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{/* Non-empty if `helm test --logs` works: Helm 3 reads the log after it has deleted the pod, and Helm 4 only in the release's namespace. */}}
{{- define "beanscale.testHasLogs" -}}
{{- if and (eq (include "beanscale.namespace" .) .Release.Namespace) (not (hasPrefix "v3." .Capabilities.HelmVersion.Version)) }}true{{ end }}
{{- end }}
