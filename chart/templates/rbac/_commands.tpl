{{/* Commands for the NOTES that do what rbac.create=true does. (list $ "smoke" "namespace:account" "--resource=… --verb=…"): create a ClusterRole
     and bind it. */}}
{{- define "beanscale.grant" }}
{{- $name := include "beanscale.clusterObject" (list (index . 0) (index . 1)) }}
  kubectl create clusterrole {{ $name }} {{ index . 3 }}
  kubectl create clusterrolebinding {{ $name }} --clusterrole={{ $name }} --serviceaccount={{ index . 2 }}
{{- end }}

{{/* The same with a Role in the release's namespace. */}}
{{- define "beanscale.grantHere" }}
{{- $root := index . 0 }}
{{- include "beanscale.grantIn" (list (include "beanscale.namespace" $root) (include "beanscale.object" (list $root (index . 1))) (index . 2) (index . 3)) }}
{{- end }}

{{/* (list "namespace" "role" "namespace:account" "--resource=… --verb=…"): the same with a Role in any namespace. */}}
{{- define "beanscale.grantIn" }}
  kubectl create role -n {{ index . 0 }} {{ index . 1 }} {{ index . 3 }}
  kubectl create rolebinding -n {{ index . 0 }} {{ index . 1 }} --role={{ index . 1 }} --serviceaccount={{ index . 2 }}
{{- end }}

{{/* (list $ "namespace:account"): watch HPAs, and scale the targets of those with annotations of the server. */}}
{{- define "beanscale.grantScaling" }}
{{- $root := index . 0 }}
{{- $account := index . 1 }}
{{- include "beanscale.grant" (list $root "scaler" $account "--resource=horizontalpodautoscalers.autoscaling --verb=get,list,watch") }}
{{- range $namespace, $targets := include "beanscale.scaled" $root | fromJson }}
{{- range $resource, $names := $targets }}
{{- $plural := splitList "." $resource | first }}
{{- $group := trimPrefix $plural $resource | trimSuffix "." }}
{{- $role := include "beanscale.clusterObject" (list $root (printf "scaler-%s%s" $plural $group)) }}
{{- include "beanscale.grantIn" (list $namespace $role $account (printf "--resource=%s%s/scale --resource-name=%s --verb=get,patch" $plural $group (join " --resource-name=" $names))) }}
{{- end }}
{{- include "beanscale.grantIn" (list $namespace (include "beanscale.clusterObject" (list $root "scaler-events")) $account "--resource=events --verb=create") }}
{{- end }}
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
