{{/* The beanstalkd servers to read, as a YAML list of {name, host, port}: the release's own first. Fails if there is none,
     or two of one name. */}}
{{- define "beanscale.sources" -}}
{{- $sources := list }}
{{- if .Values.beanstalkd.enabled }}
{{- $host := printf "%s.%s.svc" (include "beanscale.object" (list . "beanstalkd")) (include "beanscale.namespace" .) }}
{{- $sources = append $sources (dict "name" "beanstalkd" "host" $host "port" 11300) }}
{{- end }}
{{- range .Values.beanstalkd.external }}
{{- $sources = append $sources (dict "name" (.name | default .host) "host" .host "port" (.port | default 11300 | int)) }}
{{- end }}
{{- if not $sources }}
{{- fail "beanscale has no beanstalkd to read: set beanstalkd.enabled=true for one of its own, or list yours in beanstalkd.external, e.g. --set beanstalkd.external[0].host=beanstalkd.shop.svc" }}
{{- end }}
{{- $seen := dict }}
{{- range $sources }}
{{- if hasKey $seen .name }}
{{- fail (printf "beanstalkd.external: %s and %s are both named %q, so the metrics couldn't tell them apart: give one of them another name" (get $seen .name) (include "beanscale.address" .) .name) }}
{{- end }}
{{- $_ := set $seen .name (include "beanscale.address" .) }}
{{- end }}
{{- toYaml $sources }}
{{- end }}

{{/* {host, port} → HOST:PORT, IPv6 in brackets. */}}
{{- define "beanscale.address" -}}
{{- if contains ":" .host }}[{{ .host }}]{{ else }}{{ .host }}{{ end }}:{{ int .port }}
{{- end }}

{{/* One --beanstalkd argument per server, for the server and the test alike. */}}
{{- define "beanscale.sourceArgs" -}}
{{- $args := list }}
{{- range include "beanscale.sources" . | fromYamlArray }}
{{- $args = append $args (printf "--beanstalkd=%s=%s" .name (include "beanscale.address" .)) }}
{{- end }}
{{- toYaml $args }}
{{- end }}
