{{/* The beanstalkd servers to poll, as a YAML list of {name, host, port}; the bundled one first. Fails if there is none, if there are more
     than 100, if two have the same name or address, or if an IPv6 address is invalid. */}}
{{- define "beanscale.servers" -}}
{{- $servers := list }}
{{- if .Values.beanstalkd.enabled }}
{{- $host := printf "%s.%s.svc" (include "beanscale.object" (list . "beanstalkd")) (include "beanscale.namespace" .) }}
{{- $servers = append $servers (dict "name" "beanstalkd" "host" $host "port" 11300) }}
{{- end }}
{{- range $index, $entry := .Values.beanstalkd.external }}
{{- $port := .port | default 11300 | int }}
{{- if not (or .host .statefulSet) }}
{{- fail (printf "beanstalkd.external[%d] has neither host nor statefulSet: set one, or remove the entry" $index) }}
{{- end }}
{{- if and .host .statefulSet }}
{{- fail (printf "beanstalkd.external: host %s and statefulSet %s can't be combined in one entry: list them separately" .host .statefulSet.name) }}
{{- end }}
{{- if .statefulSet }}
{{- $prefix := .name | default .statefulSet.name }}
{{- $set := .statefulSet }}
{{- $namespace := include "beanscale.statefulSetNamespace" (list $ $set) }}
{{- range $ordinal := until (int $set.replicas) }}
{{- $host := printf "%s-%d.%s.%s.svc" $set.name $ordinal $set.service $namespace }}
{{- $servers = append $servers (dict "name" (printf "%s-%d" $prefix $ordinal) "host" $host "port" $port) }}
{{- end }}
{{- else }}
{{- $servers = append $servers (dict "name" (include "beanscale.serverName" .) "host" (trimAll "[]" .host) "port" $port) }}
{{- end }}
{{- end }}
{{- if not $servers }}
{{- fail "no beanstalkd server is configured: set beanstalkd.enabled=true to install one, or list yours in beanstalkd.external, e.g. --set beanstalkd.external[0].host=beanstalkd.shop.svc" }}
{{- end }}
{{- if gt (len $servers) 100 }}
{{- fail (printf "%d beanstalkd servers are configured, the limit is 100: list fewer in beanstalkd.external, or install another release of beanscale for the rest" (len $servers)) }}
{{- end }}
{{- $addresses := dict }}
{{- range $servers }}
{{- if gt (len .name) 63 }}
{{- fail (printf "beanstalkd.external: the server name %s has %d characters, the limit is 63: set a shorter name" .name (len .name)) }}
{{- end }}
{{- if hasKey $addresses .name }}
{{- fail (printf "beanstalkd.external: %s and %s have the same name %q, so metrics can't distinguish them: set another name for one of them" (get $addresses .name) (include "beanscale.address" .) .name) }}
{{- end }}
{{- $address := include "beanscale.address" . }}
{{- if and (contains ":" .host) (not (include "beanscale.isNetwork" .host)) }}
{{- fail (printf "beanstalkd.external: host %s is no IPv6 address: correct it, e.g. 2001:db8::1" .host) }}
{{- end }}
{{- /* A name has no ':', so names and addresses can be keys of one map. */}}
{{- if hasKey $addresses $address }}
{{- fail (printf "beanstalkd.external: %s and %s have the same address %s, so its jobs would be counted twice: remove one" (get $addresses $address) .name $address) }}
{{- end }}
{{- $_ := set $addresses .name $address }}
{{- $_ := set $addresses $address .name }}
{{- end }}
{{- toYaml $servers }}
{{- end }}

{{/* One of beanstalkd.external with a host → its name, by default the host; an IPv6 address with '-' for ':', which no label can have. */}}
{{- define "beanscale.serverName" -}}
{{- .name | default (.host | replace ":" "-" | trimAll "[]-_") }}
{{- end }}

{{/* (list $ statefulSet): its namespace, by default the release's. */}}
{{- define "beanscale.statefulSetNamespace" -}}
{{- (index . 1).namespace | default (include "beanscale.namespace" (index . 0)) }}
{{- end }}

{{/* {host, port} → HOST:PORT, IPv6 in brackets. */}}
{{- define "beanscale.address" -}}
{{- if contains ":" .host }}[{{ .host }}]{{ else }}{{ .host }}{{ end }}:{{ int .port }}
{{- end }}

{{/* One --beanstalkd argument per server, for the server, the console and the test. */}}
{{- define "beanscale.serverArgs" -}}
{{- $args := list }}
{{- range include "beanscale.servers" . | fromYamlArray }}
{{- $args = append $args (printf "--beanstalkd=%s=%s" .name (include "beanscale.address" .)) }}
{{- end }}
{{- toYaml $args }}
{{- end }}
