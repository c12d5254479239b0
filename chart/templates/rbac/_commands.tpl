{{/* Commands for the NOTES that do what rbac.create=true does. (list $ "smoke" "namespace:account" "--resource=… --verb=…"): create a ClusterRole
     and bind it. */}}
{{- define "beanscale.grant" }}
{{- $name := include "beanscale.clusterObject" (list (index . 0) (index . 1)) }}
  kubectl create clusterrole {{ $name }} {{ index . 3 }}
  kubectl create clusterrolebinding {{ $name }} --clusterrole={{ $name }} --serviceaccount={{ index . 2 }}
{{- end }}

{{/* The same with a Role in the release's namespace. */}}
{{- define "beanscale.grantHere" }}
{{- $namespace := include "beanscale.namespace" (index . 0) }}
{{- $name := include "beanscale.object" (list (index . 0) (index . 1)) }}
  kubectl create role -n {{ $namespace }} {{ $name }} {{ index . 3 }}
  kubectl create rolebinding -n {{ $namespace }} {{ $name }} --role={{ $name }} --serviceaccount={{ index . 2 }}
{{- end }}

{{/* (list $ "console" "namespace:account"): read HPAs, the scale of their targets, metrics and Events. */}}
{{- define "beanscale.grantExplain" }}
{{- $part := index . 1 }}
{{- include "beanscale.grant" (list (index . 0) $part (index . 2) "--resource=horizontalpodautoscalers.autoscaling,'*.external.metrics.k8s.io' --verb=get,list") }}
{{- include "beanscale.grant" (list (index . 0) (printf "%s-workloads" $part) (index . 2) "--resource=deployments.apps/scale,replicasets.apps/scale,statefulsets.apps/scale --verb=get") }}
{{- include "beanscale.grant" (list (index . 0) (printf "%s-events" $part) (index . 2) "--resource=events --verb=list") }}
{{- end }}

{{- define "beanscale.readMetrics" -}}
--resource='*.external.metrics.k8s.io' --verb=get,list
{{- end }}
