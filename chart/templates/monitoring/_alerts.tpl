{{/* The alerts, as in a Prometheus rule group. Replicas read the same beanstalkds: of what they tell of one, the worst counts, once. */}}
{{- define "beanscale.alerts" -}}
{{- $ns := include "beanscale.namespace" . }}
{{- $name := include "beanscale.object" (list . "server") }}
{{- $ours := printf "job=%q,namespace=%q" $name $ns }}
{{- $pod := "{{ $labels.pod }}" }}
{{- $beanstalkd := "{{ $labels.server }} ({{ $labels.address }})" }}
{{- $lifeLeft := divf .Values.prometheusRule.certificateLifeLeftPercent 100 }}
{{- $look := ternary "" (printf " kubectl describe certificate -n %s tells what cert-manager makes of it." $ns) (ne .Values.tls.mode "certManager") -}}
- alert: BeanscaleDown
  expr: absent(up{ {{- $ours -}} } == 1)
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: No beanscale server answers Prometheus.
    description: >-
      Prometheus gets no figures from any pod of Deployment {{ $ns }}/{{ $name }}. If none of them is ready, no autoscaler gets a value from it
      and namespaces that are deleted hang: see kubectl get pods -n {{ $ns }} and kubectl logs -n {{ $ns }} deploy/{{ $name }}. If they are ready,
      Prometheus can't reach or verify them, or may not read /metrics: its page of targets says which.
{{- if or .Values.apiService.create .Values.forwardTo.service }}
- alert: BeanscaleAPIServiceUnavailable
  expr: max by (name) (aggregator_unavailable_apiservice{name={{ include "beanscale.apiService" . | quote }}}) == 1
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: kube-apiserver gets no answer about external metrics.
    description: >-
      kube-apiserver can't send questions for external metrics to the Service {{ $ns }}/{{ $name }}: autoscalers that go by them keep their pods, and
      namespaces that are deleted hang. kubectl describe apiservice {{ include "beanscale.apiService" . }} says why.
{{- end }}
- alert: BeanscaleBeanstalkdUnread
  expr: min by (server, address) (beanscale_beanstalkd_up{ {{- $ours -}} }) == 0
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: beanstalkd {{ $beanstalkd }} can't be read.
    description: >-
      A pod of {{ $ns }}/{{ $name }} can't read beanstalkd {{ $beanstalkd }}: there, metrics that span it are errors, and autoscalers that go by
      them keep their pods. kubectl logs -n {{ $ns }} deploy/{{ $name }} says why; bring it back, or mend its address or the network policy before it.
- alert: BeanscaleJobsBuried
  expr: max by (server, address) (beanscale_jobs{ {{- $ours -}} ,state="buried"}) > {{ int64 .Values.prometheusRule.buriedJobs }}
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: Jobs are buried in beanstalkd {{ $beanstalkd }}.
    description: >-
      {{ "{{ $value }}" }} jobs are buried in beanstalkd {{ $beanstalkd }}. Workers gave them up, and nobody takes them until somebody kicks them or
      deletes them; the console shows in which tubes they are. How many are fine is prometheusRule.buriedJobs of the chart.
- alert: BeanscaleCertificateNotRenewed
  expr: >-
    (beanscale_serving_certificate_expiry_timestamp_seconds{ {{- $ours -}} } - time())
    / (beanscale_serving_certificate_expiry_timestamp_seconds{ {{- $ours -}} } - beanscale_serving_certificate_start_timestamp_seconds{ {{- $ours -}} })
    < {{ $lifeLeft }}
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: The serving certificate of beanscale isn't renewed.
    description: >-
      Pod {{ $ns }}/{{ $pod }} serves a certificate of whose life only {{ "{{ $value | humanizePercentage }}" }} is left; once it ends, kube-apiserver
      turns away from it. kubectl logs -n {{ $ns }} {{ $pod }} says what keeps it from being renewed.{{ $look }}
- alert: BeanscaleCANotRenewed
  expr: >-
    beanscale_serving_ca_expiry_timestamp_seconds{ {{- $ours -}} } - time()
    < {{ $lifeLeft }} * (beanscale_serving_certificate_expiry_timestamp_seconds{ {{- $ours -}} } - beanscale_serving_certificate_start_timestamp_seconds{ {{- $ours -}} })
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: The CA behind beanscale's serving certificate isn't renewed.
    description: >-
      The CA by which pod {{ $ns }}/{{ $pod }} is verified ends in {{ "{{ $value | humanizeDuration }}" }}, and with it all that it signed: then
      kube-apiserver turns away. kubectl logs -n {{ $ns }} {{ $pod }} says what keeps it from being renewed.{{ $look }}
- alert: BeanscaleCertificateNotChecked
  expr: beanscale_serving_certificate_up{ {{- $ours -}} } == 0
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: A beanscale server can't look after its certificate.
    description: >-
      Pod {{ $ns }}/{{ $pod }} doesn't find the Secret {{ $ns }}/{{ include "beanscale.servingSecret" . }} and its APIService in order and can't put
      them right. It goes on with the certificate that it has, until that ends. kubectl logs -n {{ $ns }} {{ $pod }} says what is wrong.
- alert: BeanscaleRequestsRejected
  expr: sum(rate(beanscale_requests_rejected_total{ {{- $ours -}} }[5m])) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: beanscale turns requests away.
    description: >-
      The pods of {{ $ns }}/{{ $name }} answer {{ "{{ $value | humanize }}" }} requests a second with 429, because too many come at once; autoscalers
      ask again later. With server.logging.audit=all the log says who asks so much.
- alert: BeanscaleClockOff
  expr: abs(beanscale_clock_ahead_seconds{ {{- $ours -}} }) > 60
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: The clock of a node that beanscale runs on is off.
    description: >-
      The clock of the node of pod {{ $ns }}/{{ $pod }} is off kube-apiserver's by {{ "{{ $value | humanizeDuration }}" }}. Set it right: clients'
      certificates and readings' times go by it.
{{- end }}
