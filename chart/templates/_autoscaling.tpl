{{/* (dict "behavior" "gentle" "maxReplicas" 10): the preset of that name, or the behavior that is set. Both presets scale up to the needed
     number in one step. Kubernetes' default takes three steps from 1 to 10 pods: 4, 8, 10. */}}
{{- define "beanscale.behavior" -}}
{{- if kindIs "map" .behavior }}
{{- toYaml .behavior }}
{{- else }}
{{- $down := dict
      "gentle" (dict "window" 300 "percent" 25 "period" 60)
      "prompt" (dict "window" 15 "percent" 100 "period" 15) }}
{{- with get $down .behavior -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Pods, value: {{ int $.maxReplicas }}, periodSeconds: 15}
scaleDown:
  stabilizationWindowSeconds: {{ .window }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: {{ .percent }}, periodSeconds: {{ .period }}}
{{- end }}
{{- end }}
{{- end }}

{{/* One of `autoscalers` → its metric, as in a HorizontalPodAutoscaler. A tube is queried by the metric tube-NAME, or by its label if the name
     has upper case, because Kubernetes lowercases metric names. Fails if the name is valid in neither. */}}
{{- define "beanscale.metric" -}}
{{- if .metric -}}
name: {{ .metric | quote }}
{{- with .selector }}
selector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else if regexMatch "^[^A-Z/]+$" .tube -}}
name: {{ printf "tube-%s" .tube | quote }}
{{- else if regexMatch "^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" .tube -}}
name: beanstalkd_tube_jobs
selector:
  matchLabels: {tube: {{ .tube | quote }}}
  matchExpressions:
    - {key: state, operator: In, values: [ready, reserved]}
{{- else }}
{{- fail (printf "autoscalers: %s: tube %s is not valid in a metric name (lower case, no '/') or in a label: add a rule to `metrics`, e.g. {name: %s, tubes: [%q], value: ready + reserved}, and set metric: %s instead of tube" .name .tube .name .tube .name) }}
{{- end }}
{{- end }}

{{/* One of `autoscalers` → {type, averageValue | value}. Converted to JSON first, because a template would print a million as 1e+06. */}}
{{- define "beanscale.target" -}}
{{- if hasKey . "jobsPerPod" -}}
type: AverageValue
averageValue: {{ .jobsPerPod | toJson | trimAll "\"" | quote }}
{{- else -}}
type: Value
value: {{ .targetValue | toJson | trimAll "\"" | quote }}
{{- end }}
{{- end }}

{{/* One of `autoscalers` → its minReplicas, which may be 0. */}}
{{- define "beanscale.minReplicas" -}}
{{- ternary .minReplicas 1 (hasKey . "minReplicas") | int }}
{{- end }}

{{/* (list $ "autoscalers: checkout" 0 10): fails unless these minReplicas and maxReplicas are valid. */}}
{{- define "beanscale.checkReplicas" -}}
{{- $root := index . 0 }}
{{- $which := index . 1 }}
{{- $min := index . 2 | int }}
{{- $max := index . 3 | int }}
{{- if gt $min $max }}
{{- fail (printf "%s: minReplicas (%d) exceeds maxReplicas (%d): raise maxReplicas or lower minReplicas" $which $min $max) }}
{{- end }}
{{- $version := $root.Capabilities.KubeVersion.Version }}
{{- if and (eq $min 0) (not $root.Values.featureGates.HPAScaleToZero) (semverCompare "<1.37.0-0" $version) }}
{{- fail (printf "%s: minReplicas: 0 requires Kubernetes 1.37, but this is %s: set minReplicas to 1; or, if kube-apiserver and kube-controller-manager run with the feature gate HPAScaleToZero, set featureGates.HPAScaleToZero=true (for helm template, set the version with --kube-version)" $which $version) }}
{{- end }}
{{- end }}
