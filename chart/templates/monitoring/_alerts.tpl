{{/* The alerts, as in a Prometheus rule group. All replicas poll the same beanstalkds, so alerts aggregate them: the worst value counts. */}}
{{- define "beanscale.alerts" -}}
{{- $ns := include "beanscale.namespace" . }}
{{- $name := include "beanscale.object" (list . "server") }}
{{- $selector := printf "job=%q,namespace=%q" $name $ns }}
{{- $pod := "{{ $labels.pod }}" }}
{{- $beanstalkd := "{{ $labels.server }} ({{ $labels.address }})" }}
{{- $lifeLeft := divf .Values.prometheusRule.certificateLifeLeftPercent 100 }}
{{- $certManager := ternary "" (printf " kubectl describe certificate -n %s shows cert-manager's status." $ns) (ne .Values.tls.mode "certManager") -}}
- alert: BeanscaleDown
  expr: absent(up{ {{- $selector -}} } == 1)
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: Prometheus can't scrape any beanscale server.
    description: >-
      Prometheus can't scrape any pod of Deployment {{ $ns }}/{{ $name }}. If no pod is ready, HPAs get no metrics and deleted namespaces hang in
      Terminating: check kubectl get pods -n {{ $ns }} and kubectl logs -n {{ $ns }} deploy/{{ $name }}. If the pods are ready, Prometheus can't
      reach or verify them, or isn't allowed to read /metrics: see its targets page.
{{- if or .Values.apiService.create .Values.forwardTo.service }}
- alert: BeanscaleAPIServiceUnavailable
  expr: max by (name) (aggregator_unavailable_apiservice{name={{ include "beanscale.apiService" . | quote }}}) == 1
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: kube-apiserver can't reach the external metrics API.
    description: >-
      kube-apiserver can't reach Service {{ $ns }}/{{ $name }} for external metrics: dependent HPAs keep their replicas, and deleted namespaces
      hang in Terminating. kubectl describe apiservice {{ include "beanscale.apiService" . }} shows the cause.
{{- end }}
- alert: BeanscaleBeanstalkdUnread
  expr: min by (server, address) (beanscale_beanstalkd_up{ {{- $selector -}} }) == 0
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: beanstalkd {{ $beanstalkd }} can't be read.
    description: >-
      A pod of {{ $ns }}/{{ $name }} can't read beanstalkd {{ $beanstalkd }}: on that pod, metrics that include it fail, and dependent HPAs keep
      their replicas. kubectl logs -n {{ $ns }} deploy/{{ $name }} shows the cause. Start it, or fix its address or NetworkPolicy.
- alert: BeanscaleJobsBuried
  expr: max by (server, address) (beanscale_jobs{ {{- $selector -}} ,state="buried"}) > {{ int64 .Values.prometheusRule.buriedJobs }}
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: Jobs are buried in beanstalkd {{ $beanstalkd }}.
    description: >-
      Buried jobs in beanstalkd {{ $beanstalkd }}: {{ "{{ $value }}" }}. Workers buried them; they stay until someone kicks or deletes them. The
      console shows their tubes. The threshold is prometheusRule.buriedJobs of the chart.
- alert: BeanscaleTubesStuck
  expr: max by (server, address) (beanscale_tubes_stuck{ {{- $selector -}} }) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: Workers of beanstalkd {{ $beanstalkd }} take no jobs.
    description: >-
      {{ "{{ $value }}" }} tubes of beanstalkd {{ $beanstalkd }} have ready jobs and connections that watch them, but none waits for a job or
      takes one. The workers may hang: restart them. The console shows their tubes.
- alert: BeanscaleJobsTimedOut
  expr: max by (server, address) (rate(beanscale_job_timeouts_total{ {{- $selector -}} }[5m])) > 0
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: Jobs time out in beanstalkd {{ $beanstalkd }}.
    description: >-
      In beanstalkd {{ $beanstalkd }}, {{ "{{ $value | humanize }}" }} jobs per second exceed their time to run (TTR), and another worker takes them
      again. Put them with a longer TTR, let workers `touch` them, or look for workers that hang. The console shows reserved jobs and their time left.
- alert: BeanscaleCertificateNotRenewed
  expr: >-
    (beanscale_serving_certificate_expiry_timestamp_seconds{ {{- $selector -}} } - time())
    / (beanscale_serving_certificate_expiry_timestamp_seconds{ {{- $selector -}} } - beanscale_serving_certificate_start_timestamp_seconds{ {{- $selector -}} })
    < {{ $lifeLeft }}
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: The serving certificate of beanscale isn't renewed.
    description: >-
      Pod {{ $ns }}/{{ $pod }} serves a certificate that has {{ "{{ $value | humanizePercentage }}" }} of its lifetime left. When it expires,
      kube-apiserver rejects it. kubectl logs -n {{ $ns }} {{ $pod }} shows why it isn't renewed.{{ $certManager }}
- alert: BeanscaleCANotRenewed
  expr: >-
    beanscale_serving_ca_expiry_timestamp_seconds{ {{- $selector -}} } - time()
    < {{ $lifeLeft }} * (beanscale_serving_certificate_expiry_timestamp_seconds{ {{- $selector -}} } - beanscale_serving_certificate_start_timestamp_seconds{ {{- $selector -}} })
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: The CA of beanscale's serving certificate isn't renewed.
    description: >-
      The CA that verifies pod {{ $ns }}/{{ $pod }} expires in {{ "{{ $value | humanizeDuration }}" }}. kube-apiserver then rejects every
      certificate that it signed. kubectl logs -n {{ $ns }} {{ $pod }} shows why it isn't renewed.{{ $certManager }}
- alert: BeanscaleCertificateNotChecked
  expr: beanscale_serving_certificate_up{ {{- $selector -}} } == 0
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: A beanscale server can't maintain its certificate.
    description: >-
      Pod {{ $ns }}/{{ $pod }} found Secret {{ $ns }}/{{ include "beanscale.servingSecret" . }} or its APIService invalid and can't repair them. It
      serves its current certificate until that expires. kubectl logs -n {{ $ns }} {{ $pod }} shows the cause.
- alert: BeanscaleRequestsRejected
  expr: sum(rate(beanscale_requests_rejected_total{ {{- $selector -}} }[5m])) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: beanscale is rejecting requests.
    description: >-
      The pods of {{ $ns }}/{{ $name }} reject {{ "{{ $value | humanize }}" }} requests per second with 429, because too many arrive at once. HPAs
      retry later. With server.logging.audit=all, the log shows which clients send them.
{{- if .Values.scaling.enabled }}
- alert: BeanscaleWorkloadsNotScaled
  expr: max by (reason) (beanscale_scaler_rejected{ {{- $selector -}} ,reason!~"condition|conflict|no_value"}) > 0
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: beanscale doesn't scale workloads whose HPA asks for it.
    description: >-
      {{ $ns }}/{{ $name }} doesn't scale the workloads of {{ "{{ $value }}" }} HPAs with its annotations ({{ "{{ $labels.reason }}" }}): Kubernetes
      scales them up every 15 seconds, but not from zero if beanscale does that. kubectl get events -A --field-selector reason=NotScaled shows the
      HPAs, causes and fixes of the last hour; so does kubectl logs -n {{ $ns }} deploy/{{ $name }}.
- alert: BeanscaleAutoscalersUnwatched
  expr: beanscale_scaler_watch_up{ {{- $selector -}} } == 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: A beanscale server can't watch HPAs.
    description: >-
      Pod {{ $ns }}/{{ $pod }} can't watch HPAs, so it misses new and changed ones, and doesn't scale their workloads. kubectl logs -n {{ $ns }} {{ $pod }}
      shows the cause. If its account may not watch them: kubectl get clusterrolebinding {{ include "beanscale.clusterObject" (list . "scaler") }}
      shows the permission that rbac.create=true grants.
{{- end }}
- alert: BeanscaleClockOff
  expr: abs(beanscale_clock_ahead_seconds{ {{- $selector -}} }) > 60
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: The clock of a node with a beanscale server is wrong.
    description: >-
      The clock of the node of pod {{ $ns }}/{{ $pod }} differs from kube-apiserver's by {{ "{{ $value | humanizeDuration }}" }}. Fix it, because
      client certificates and timestamps use it.
{{- end }}
