{{/* 0 | 1: annotations of an object that exists while `helm test` runs; the pod (1) comes last. Always deleted, because uninstall ignores hooks. */}}
{{- define "beanscale.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}
