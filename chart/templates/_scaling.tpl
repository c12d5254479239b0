{{/* The HPAs of this release as JSON: the entries of `autoscalers`, and hello-world's as another one, each with `which`, its name in errors, and
     `namespace`. */}}
{{- define "beanscale.entries" -}}
{{- $entries := list }}
{{- with .Values.helloWorld }}
{{- if and .enabled .autoscaling.enabled }}
{{- $name := include "beanscale.object" (list $ "hello-world") }}
{{- $entries = append $entries (merge (dict "which" "helloWorld.autoscaling" "name" $name "target" (dict "name" $name) "tube" .tube) (omit .autoscaling "enabled")) }}
{{- end }}
{{- end }}
{{- range .Values.autoscalers }}
{{- $entries = append $entries (merge (dict "which" (printf "autoscalers: %s" .name)) .) }}
{{- end }}
{{- range $entries }}
{{- $_ := set . "namespace" (.namespace | default (include "beanscale.namespace" $)) }}
{{- end }}
{{- toJson $entries }}
{{- end }}

{{/* An entry → its minReplicas, which may be 0. */}}
{{- define "beanscale.minReplicas" -}}
{{- ternary .minReplicas 1 (hasKey . "minReplicas") | int }}
{{- end }}

{{/* "true" if Kubernetes accepts an HPA with minReplicas: 0. */}}
{{- define "beanscale.kubernetesScalesToZero" -}}
{{- if or .Values.featureGates.HPAScaleToZero (semverCompare ">=1.37.0-0" .Capabilities.KubeVersion.Version) }}true{{ end }}
{{- end }}

{{/* (list $ entry) → who scales the target to zero: "kubernetes", "beanscale", or nobody. Kubernetes knows neither idleFor nor activation. */}}
{{- define "beanscale.toZero" -}}
{{- $root := index . 0 }}
{{- $entry := index . 1 }}
{{- if eq (include "beanscale.minReplicas" $entry) "0" }}
{{- $kubernetes := and (include "beanscale.kubernetesScalesToZero" $root) (not (hasKey $entry "idleFor")) (not (hasKey $entry "activation")) }}
{{- ternary "kubernetes" "beanscale" (or $kubernetes (not $root.Values.scaling.enabled)) }}
{{- end }}
{{- end }}

{{/* (list $ metric): "true" if beanscale serves this metric. */}}
{{- define "beanscale.isOurs" -}}
{{- $metric := index . 1 }}
{{- $rules := list }}
{{- range (index . 0).Values.metrics }}
{{- $rules = append $rules .name }}
{{- end }}
{{- if or (has $metric $rules) (hasPrefix "tube-" $metric) (has $metric (include "beanscale.builtIn" . | splitList ",")) }}true{{ end }}
{{- end }}

{{/* (list $ entry) → why beanscale doesn't scale the target up within a second although `immediate` is true; empty: it does. */}}
{{- define "beanscale.notImmediate" -}}
{{- $root := index . 0 }}
{{- $entry := index . 1 }}
{{- $ours := false }}
{{- $perPod := false }}
{{- range $entry.metrics | default (list $entry) }}
{{- if or .tube (include "beanscale.isOurs" (list $root (.metric | default ""))) }}
{{- $ours = true }}
{{- $perPod = or $perPod (hasKey . "jobsPerPod") (hasKey . "perSecond") (eq (.busy | default "") "keep") }}
{{- end }}
{{- end }}
{{- $up := dict }}
{{- if kindIs "map" $entry.behavior }}
{{- $up = $entry.behavior.scaleUp | default dict }}
{{- end }}
{{- if eq ($up.selectPolicy | default "") "Disabled" }}behavior.scaleUp.selectPolicy is Disabled
{{- else if $up.stabilizationWindowSeconds }}behavior.scaleUp has a stabilization window
{{- else if not $ours }}another adapter serves its metrics
{{- else if not $perPod }}a targetValue depends on the number of ready pods, which beanscale can't read
{{- end }}
{{- end }}

{{/* (list $ entry) → the annotations by which the server scales the target, as YAML; null if it doesn't. */}}
{{- define "beanscale.scalingAnnotations" -}}
{{- $root := index . 0 }}
{{- $entry := index . 1 }}
{{- $annotations := dict }}
{{- if $root.Values.scaling.enabled }}
{{- if and (ternary $entry.immediate true (hasKey $entry "immediate")) (not (include "beanscale.notImmediate" .)) }}
{{- $_ := set $annotations "beanscale/immediate" "true" }}
{{- end }}
{{- if eq (include "beanscale.toZero" .) "beanscale" }}
{{- $_ := set $annotations "beanscale/scale-to-zero" ($entry.idleFor | default "5m") }}
{{- if hasKey $entry "activation" }}
{{- $_ := set $annotations "beanscale/activation" ($entry.activation | toJson | trimAll "\"") }}
{{- end }}
{{- end }}
{{- end }}
{{- with $annotations }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* (list $ entry): minReplicas as in the HPA. */}}
{{- define "beanscale.renderedMinReplicas" -}}
{{- ternary "1" (include "beanscale.minReplicas" (index . 1)) (eq (include "beanscale.toZero" .) "beanscale") }}
{{- end }}

{{/* A target → its resource and API group, as RBAC has them: `deployments.apps`, `replicationcontrollers.`. Without `resource`, the plural as
     Kubernetes guesses it from the kind. */}}
{{- define "beanscale.targetResource" -}}
{{- $kind := .kind | default "Deployment" | lower }}
{{- $plural := printf "%ss" $kind }}
{{- if hasSuffix "s" $kind }}
{{- $plural = printf "%ses" $kind }}
{{- else if hasSuffix "y" $kind }}
{{- $plural = printf "%sies" (trimSuffix "y" $kind) }}
{{- end }}
{{- $version := .apiVersion | default "apps/v1" }}
{{- printf "%s.%s" (.resource | default $plural) (ternary (dir $version) "" (contains "/" $version)) }}
{{- end }}

{{/* The targets that the server scales, as JSON: {namespace: {resource.group: [name]}}. */}}
{{- define "beanscale.scaled" -}}
{{- $scaled := dict }}
{{- range include "beanscale.entries" . | fromJsonArray }}
{{- if include "beanscale.scalingAnnotations" (list $ .) }}
{{- $here := get $scaled .namespace | default dict }}
{{- $resource := include "beanscale.targetResource" .target }}
{{- $_ := set $here $resource (append (get $here $resource | default list) .target.name) }}
{{- $_ := set $scaled .namespace $here }}
{{- end }}
{{- end }}
{{- toJson $scaled }}
{{- end }}

{{/* (list $ entry): fails unless minReplicas and maxReplicas, and the keys and annotations for scaling by the server, fit together. */}}
{{- define "beanscale.checkScaling" -}}
{{- $root := index . 0 }}
{{- $entry := index . 1 }}
{{- $which := $entry.which }}
{{- $min := include "beanscale.minReplicas" $entry | int }}
{{- $max := $entry.maxReplicas | int }}
{{- if gt $min $max }}
{{- fail (printf "%s: minReplicas (%d) exceeds maxReplicas (%d): raise maxReplicas or lower minReplicas" $which $min $max) }}
{{- end }}
{{- range $key := list "idleFor" "activation" }}
{{- if hasKey $entry $key }}
{{- if $min }}
{{- fail (printf "%s: %s requires minReplicas: 0: set it, or remove %s" $which $key $key) }}
{{- end }}
{{- if not $root.Values.scaling.enabled }}
{{- fail (printf "%s: %s requires scaling.enabled=true, because Kubernetes doesn't know it: set it, or remove %s" $which $key $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- $toZero := include "beanscale.toZero" . }}
{{- if and (eq $toZero "kubernetes") (not (include "beanscale.kubernetesScalesToZero" $root)) }}
{{- fail (printf "%s: minReplicas: 0 requires Kubernetes 1.37, but this is %s: set scaling.enabled=true, so that beanscale scales to zero; or minReplicas to 1; or, if kube-apiserver and kube-controller-manager run with the feature gate HPAScaleToZero, set featureGates.HPAScaleToZero=true (for helm template, set the version with --kube-version)" $which $root.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if eq $toZero "beanscale" }}
{{- range $entry.metrics | default (list $entry) }}
{{- if and .metric (not (include "beanscale.isOurs" (list $root .metric))) }}
{{- fail (printf "%s: beanscale can't scale to zero by metric %s, which another adapter serves: set minReplicas to 1; or use Kubernetes 1.37, without idleFor and activation" $which .metric) }}
{{- end }}
{{- end }}
{{- end }}
{{- $keys := dict "beanscale/immediate" "immediate" "beanscale/scale-to-zero" "minReplicas: 0 and idleFor" "beanscale/activation" "activation" }}
{{- range $annotation, $value := $entry.annotations }}
{{- with get $keys $annotation }}
{{- fail (printf "%s: the chart sets annotation %s: set %s instead" $which $annotation .) }}
{{- end }}
{{- if eq $annotation "beanscale/paused" }}
{{- if not (has $value (list "true" "false")) }}
{{- fail (printf "%s: annotation beanscale/paused is %q: set it to \"true\" or \"false\"" $which $value) }}
{{- end }}
{{- else if hasPrefix "beanscale/" $annotation }}
{{- fail (printf "%s: annotation %s is unknown: correct it, e.g. beanscale/paused, or remove it" $which $annotation) }}
{{- end }}
{{- end }}
{{- end }}
