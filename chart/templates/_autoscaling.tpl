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

{{/* One of `autoscalers` → its metrics, as in a HorizontalPodAutoscaler; each from tube or metric, either of the entry or of its list `metrics`. */}}
{{- define "beanscale.metrics" -}}
{{- $name := .name }}
{{- range .metrics | default (list .) }}
{{- if .metric }}
{{- include "beanscale.external" (list .metric .selector (include "beanscale.target" .)) }}
{{- else }}
{{- $unpaused := ternary dict (dict "paused" "false") (eq (.paused | default "ignore") "count") }}
{{- $labels := dict "tube" .tube }}
{{- if or (hasKey . "jobsPerPod") (hasKey . "targetValue") }}
{{- $metric := printf "tube-%s" .tube }}
{{- $selector := ternary (dict "matchLabels" $unpaused) dict (gt (len $unpaused) 0) }}
{{- if not (regexMatch "^[^A-Z/]+$" .tube) }}
{{- if not (include "beanscale.isLabel" .tube) }}
{{- $rule := $name | replace "." "-" | trimPrefix "tube-" | trunc 63 | trimSuffix "-" }}
{{- fail (printf "autoscalers: %s: tube %s is not valid in a metric name (lower case, no '/') or in a label: add a rule to `metrics`, e.g. {name: %s, tubes: [%q], value: ready + reserved%s}, and set metric: %s instead of tube" $name .tube $rule .tube (ternary "" ", paused: ignore" (eq (.paused | default "") "count")) $rule) }}
{{- end }}
{{- $metric = "beanstalkd_tube_jobs" }}
{{- $states := dict "key" "state" "operator" "In" "values" (list "ready" "reserved") }}
{{- $selector = dict "matchLabels" (merge dict $labels $unpaused) "matchExpressions" (list $states) }}
{{- end }}
{{- include "beanscale.external" (list $metric $selector (include "beanscale.target" .)) }}
{{- end }}
{{- if hasKey . "perSecond" }}
{{- $selector := dict "matchLabels" (merge dict $labels $unpaused) }}
{{- include "beanscale.external" (list "beanstalkd_tube_jobs_put_per_second" $selector (include "beanscale.target" (dict "jobsPerPod" .perSecond))) }}
{{- end }}
{{- if eq (.busy | default "") "keep" }}
{{- $selector := dict "matchLabels" (merge dict $labels (dict "state" "reserved")) }}
{{- include "beanscale.external" (list "beanstalkd_tube_jobs" $selector (include "beanscale.target" (dict "jobsPerPod" 1))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* (list "tube-checkout" $selector $target): one item of `metrics`. The name of a tube can have characters that YAML would not read as text. */}}
{{- define "beanscale.external" }}
- type: External
  external:
    metric:
      name: {{ index . 0 | quote }}
      {{- with index . 1 }}
      selector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    target:
      {{- index . 2 | nindent 6 }}
{{- end }}

{{/* A tube's name → "true" if it is valid as the value of a label. */}}
{{- define "beanscale.isLabel" -}}
{{- if regexMatch "^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" . }}true{{ end }}
{{- end }}

{{/* jobsPerPod, or else targetValue → {type, averageValue | value}. Converted to JSON first, because a template would print a million as 1e+06. */}}
{{- define "beanscale.target" -}}
{{- if hasKey . "jobsPerPod" -}}
type: AverageValue
averageValue: {{ .jobsPerPod | toJson | trimAll "\"" | quote }}
{{- else -}}
type: Value
value: {{ .targetValue | toJson | trimAll "\"" | quote }}
{{- end }}
{{- end }}

{{/* (list $ "autoscalers: checkout" $metric): fails unless the keys of this item of `metrics`, or of an entry without that list, fit together. */}}
{{- define "beanscale.checkMetric" -}}
{{- $root := index . 0 }}
{{- $which := index . 1 }}
{{- $rules := list }}
{{- range $root.Values.metrics }}
{{- $rules = append $rules .name }}
{{- end }}
{{- /* range, because with would skip an empty item. */}}
{{- range list (index . 2) }}
{{- if not (or .tube .metric) }}
{{- fail (printf "%s: set tube or metric" $which) }}
{{- end }}
{{- if and .tube .metric }}
{{- fail (printf "%s: tube and metric can't be combined: remove one" $which) }}
{{- end }}
{{- if and .tube .selector }}
{{- fail (printf "%s: tube and selector can't be combined: remove one, or set metric: beanstalkd_tube_jobs with matchLabels: {tube: …}" $which) }}
{{- end }}
{{- if not (or (hasKey . "jobsPerPod") (hasKey . "targetValue") (and .tube (hasKey . "perSecond"))) }}
{{- fail (printf "%s: set jobsPerPod, e.g. jobsPerPod: 2, or targetValue, the value at which the number of pods is right%s" $which (ternary ", or perSecond, the jobs put per second for each pod" "" (not (empty .tube)))) }}
{{- end }}
{{- if and (hasKey . "jobsPerPod") (hasKey . "targetValue") }}
{{- fail (printf "%s: jobsPerPod and targetValue can't be combined: remove one" $which) }}
{{- end }}
{{- if and .metric (hasKey . "perSecond") }}
{{- fail (printf "%s: perSecond requires tube: set tube instead of metric, or jobsPerPod with metric: beanstalkd_tube_jobs_put_per_second" $which) }}
{{- end }}
{{- if and .metric .paused }}
{{- $labeled := or (hasPrefix "tube-" .metric) (has .metric (list "beanstalkd_tube_jobs" "beanstalkd_tube_urgent_jobs" "beanstalkd_tube_jobs_put_per_second" "beanstalkd_tube_next_job_age_seconds")) }}
{{- $fix := ternary "select by the label instead, with selector: {matchLabels: {paused: \"false\"}}" (printf "remove it, because %s has no label paused" .metric) $labeled }}
{{- fail (printf "%s: paused requires tube: %s" $which (ternary (printf "set paused in the rule %s" .metric) $fix (has .metric $rules))) }}
{{- end }}
{{- if and .metric .busy }}
{{- fail (printf "%s: busy requires tube: set tube instead of metric%s" $which (ternary (printf ", or busy in the rule %s" .metric) "" (has .metric $rules))) }}
{{- end }}
{{- if and .tube (or (hasKey . "perSecond") .busy) (not (include "beanscale.isLabel" .tube)) }}
{{- $key := ternary "perSecond" "busy" (hasKey . "perSecond") }}
{{- $value := ternary (printf "put_per_second%s" (ternary "" ", paused: ignore" (eq (.paused | default "") "count"))) "reserved" (eq $key "perSecond") }}
{{- fail (printf "%s: tube %s is not valid in a label, which %s requires: add a rule to `metrics`, e.g. {name: NAME, tubes: [%q], value: %s}, and set metric: NAME instead of tube, with jobsPerPod" $which .tube $key .tube $value) }}
{{- end }}
{{- with .metric }}
{{- if ne . (lower .) }}
{{- fail (printf "%s: metric %s can't be queried, because Kubernetes lowercases metric names: set tube: NAME instead, which works in any case" $which .) }}
{{- end }}
{{- if not (or (include "beanscale.isOurs" (list $root .)) $root.Values.forwardTo.service) }}
{{- $builtIn := include "beanscale.builtIn" $root | splitList "," | join ", " }}
{{- fail (printf "%s: metric %s is neither built in (tube-<tube>, %s) nor defined in `metrics` (rules: %s): correct the name, or add the rule" $which . $builtIn (join ", " $rules | default "none")) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The names of all built-in metrics but tube-…, separated by commas. */}}
{{- define "beanscale.builtIn" -}}
beanstalkd_tube_jobs,beanstalkd_tube_drain_seconds,beanstalkd_tube_jobs_deleted_per_second,beanstalkd_tube_jobs_put_per_second,
{{- "beanstalkd_tube_next_job_age_seconds,beanstalkd_tube_producers_using,beanstalkd_tube_urgent_jobs," }}
{{- "beanstalkd_tube_workers_waiting,beanstalkd_tube_workers_watching" }}
{{- end }}
