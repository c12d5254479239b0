{{/* (dict "behavior" "gentle" "maxReplicas" 10): a preset by its name, or what was given. Up, both go to what is needed in one step: jobs that
     wait are waiting now, while Kubernetes' default doubles the pods: 1, 4, 8, 10 in four steps. */}}
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

{{/* One of `autoscalers` → its metric, as in a HorizontalPodAutoscaler. A tube is asked for by the metric tube-…, or where Kubernetes would
     ask for that in lower case, by its label. Fails where a name can be neither. */}}
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
{{- fail (printf "autoscalers: %s: the tube %s can stand neither in a metric's name, which is lower case and has no '/', nor in a label: write a rule in `metrics` that gives it a name, e.g. {name: %s, tubes: [%q], value: ready + reserved}, and say metric: %s instead of tube" .name .tube .name .tube .name) }}
{{- end }}
{{- end }}

{{/* One of `autoscalers` → {type, averageValue | value}. As JSON first, so that a million isn't 1e+06. */}}
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

{{/* (list $ "autoscalers: checkout" 0 10): fails unless an autoscaler may have these minReplicas and maxReplicas. */}}
{{- define "beanscale.checkReplicas" -}}
{{- $root := index . 0 }}
{{- $which := index . 1 }}
{{- $min := index . 2 | int }}
{{- $max := index . 3 | int }}
{{- if gt $min $max }}
{{- fail (printf "%s: minReplicas is %d, more than maxReplicas, %d: raise maxReplicas or lower minReplicas" $which $min $max) }}
{{- end }}
{{- $version := $root.Capabilities.KubeVersion.Version }}
{{- if and (eq $min 0) (not $root.Values.featureGates.HPAScaleToZero) (semverCompare "<1.37.0-0" $version) }}
{{- fail (printf "%s: minReplicas is 0, which Kubernetes allows from 1.37, and this is %s: set minReplicas to 1; or, if kube-apiserver and kube-controller-manager run with the feature gate HPAScaleToZero, set featureGates.HPAScaleToZero=true (helm template knows no cluster: there --kube-version says which)" $which $version) }}
{{- end }}
{{- end }}
