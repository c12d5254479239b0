"""values.schema.json rejects every invalid value by its path."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import Chart

TOO_LONG = "a" * 64

# Where the value stands → wrong values.
WRONG: dict[str, list[Any]] = {
    "unknownKey": [1],
    "enabled": ["yes", 1],
    "global": [[], "x"],
    "global.imageRegistry": [1, "https://registry.example.com", "a b"],
    "global.imagePullSecrets": ["x", [1], [{}], [{"name": ""}]],
    "nameOverride": [1, "Upper", "a_b", "-a", TOO_LONG],
    "fullnameOverride": [1, "a.b", "a-", TOO_LONG],
    "namespaceOverride": [1, "a/b", TOO_LONG],
    "commonLabels": [[], {"a b": "c"}, {"a": 1}, {"a": "b c"}, {"a": TOO_LONG}, {"-a": "b"}, {"a..b/c": "d"}],
    "clusterDomain": ["", 1, "cluster.local.", "Cluster.local", "a..b", "a b"],
    "image.registry": [1, "docker://x", "x y"],
    "image.repository": ["", 1, "Upper", "a:b@c", "/a"],
    "image.tag": [1.10, 1, "a/b", "-a", "a" * 129],
    "image.digest": ["latest", "sha256:abc", "md5:" + "0" * 64, "sha256:" + "G" * 64],
    "image.pullPolicy": ["", "always", True],
    "image.name": ["x"],
    "imagePullSecrets": ["x", ["x"], [{}], [{"name": "A"}], [{"name": "a", "namespace": "b"}]],
    "preflight": [True],
    "preflight.enabled": ["true", 1],
    "apiService.create": ["true", 1],
    "apiService.annotations": [{"a": True}, {"a b": "c"}, {"a..b/c": "d"}],
    "apiService.insecureSkipTLSVerify": [True],
    "apiService.caBundle": ["-----BEGIN CERTIFICATE-----"],
    "tls": ["self", True],
    "tls.mode": ["", "helm", "certmanager", "insecure"],
    "tls.self.duration": ["30d", 720, "0h"],
    "tls.self.caDuration": ["1y"],
    "tls.certManager.existingIssuer": ["ca", True],
    "tls.certManager.existingIssuer.enabled": ["yes"],
    "tls.certManager.existingIssuer.kind": ["Vault"],
    "tls.certManager.existingIssuer.name": [1, "A b"],
    "tls.certManager.duration": ["90d"],
    "tls.certManager.renewBefore": [""],
    "tls.existingSecret": ["mine"],
    "tls.existingSecret.name": [1, "Upper", "a/b"],
    "rbac.create": ["true"],
    "rbac.authReader": [True],
    "rbac.authReader.create": ["true"],
    "rbac.aggregateReader": ["view"],
    "rbac.explain": ["true"],
    "serviceAccount.create": ["true"],
    "serviceAccount.name": [1, "a/b", "A", "a..b", "a" * 254],
    "rbac.admissionPolicy": ["true"],
    "serviceAccount.annotations": [{"a": 1}],
    "podSecurityContext.runAsUser": ["65532", -1, 1.5, 2**31],
    "podSecurityContext.runAsGroup": ["root"],
    "podSecurityContext.fsGroup": [-1],
    "podSecurityContext.fsGroupChangePolicy": ["Sometimes"],
    "podSecurityContext.runAsNonRoot": ["true"],
    "podSecurityContext.seccompProfile": ["RuntimeDefault", {"type": "Any"}, {"type": "Localhost", "file": "x"}],
    "podSecurityContext.supplementalGroups": [1, ["a"]],
    "podSecurityContext.privileged": [False],
    "securityContext.allowPrivilegeEscalation": ["no"],
    "securityContext.readOnlyRootFilesystem": ["yes"],
    "securityContext.privileged": [0],
    "securityContext.capabilities": [["ALL"], {"drop": "ALL"}, {"keep": []}],
    "securityContext.runAsUser": ["x"],
    "server.unknownKey": [1],
    "server.replicaCount": ["2", 0, -1, 1.5, 101],
    "server.maxAge": ["1000000000s", 15, "15", "", "0s", "1d", "15 s", "-1s", "s"],
    "server.discovery.tubes": ["false", 0],
    "server.discovery.unknownKey": [1],
    "server.logging.level": ["DEBUG", "warn", 1],
    "server.logging.format": ["xml"],
    "server.logging.audit": ["none", True],
    "server.logging.file": ["x"],
    "server.containerPort": ["10250", 0, 443, 65536],
    "server.extraArgs": ["--bind=::", [1]],
    "server.extraEnv": [{"A": "b"}, [{"value": "x"}], [{"name": "A", "value": 1}], [{"name": "A", "from": "x"}]],
    "server.extraVolumes": [{}, [{"emptyDir": {}}], [{"name": "a"}], [{"name": "A", "emptyDir": {}}]],
    "server.extraVolumeMounts": [
        [{"name": "a"}],
        [{"name": "a", "mountPath": "relative"}],
        [{"name": "a", "mountPath": "/a", "mode": 1}],
    ],
    "server.resources": [[], {"memory": "1Gi"}],
    "server.resources.limits": [{"memory": "1 Gi"}, {"memory": "1GiB"}, {"cpu": -1}, {"cpu": True}],
    "server.resources.requests": [{"cpu": "fast"}],
    "server.updateStrategy": [
        "Recreate",
        {"type": "OnDelete"},
        {"rollingUpdate": {"maxSurge": -1}},
        {"rollingUpdate": {"partition": 1}},
    ],
    "server.revisionHistoryLimit": [-1, "3"],
    "server.shutdownDelaySeconds": ["5", -1],
    "server.terminationGracePeriodSeconds": ["30", 0],
    "server.startupProbe": [[], {"periodSeconds": 0}, {"failureThreshold": 0}, {"command": []}],
    "server.livenessProbe": [{"timeoutSeconds": "1"}, {"httpGet": {"scheme": "https"}}, {"httpGet": {"path": "livez"}}],
    "server.readinessProbe": [{"httpGet": {"port": 0}}, {"exec": {"command": "true"}}, {"initialDelaySeconds": -1}],
    "server.deploymentAnnotations": [{"a": 1}],
    "server.podAnnotations": [{"a": 1}],
    "server.podLabels": [{"a": 1}, {"a": "b/c"}],
    "server.nodeSelector": [{"a": True}],
    "server.tolerations": [{}, [{"effect": "Never"}], [{"key": 1}], [{"operator": "Is"}], [{"seconds": 1}]],
    "server.affinity": [[], {"anti": {}}, {"nodeAffinity": {"required": []}}],
    "server.topologySpreadConstraints": [
        {},
        [{"maxSkew": 1}],
        [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway"}],
    ],
    "server.priorityClassName": [1, "A", "a..b"],
    "server.hostNetwork": [True],
    "server.hostNetwork.enabled": ["true"],
    "server.dnsPolicy": ["cluster"],
    "server.dnsConfig": [{"servers": []}, {"options": [{"value": "x"}]}, {"searches": "a"}],
    "podDisruptionBudget.enabled": ["true"],
    "podDisruptionBudget.minAvailable": [-1, "50", "101%", "half", 1.5],
    "podDisruptionBudget.maxUnavailable": [-1, "0.5%"],
    "podDisruptionBudget.unhealthyPodEvictionPolicy": ["Always"],
    "service.type": ["ExternalName", "None"],
    "service.port": [0, 65536, "443"],
    "service.ipFamilyPolicy": ["DualStack", True],
    "service.ipFamilies": ["IPv6", ["ipv6"], ["IPv6", "IPv6"]],
    "service.annotations": [{"a": 1}],
    "service.labels": [{"a": 1}],
    "networkPolicy.enabled": ["true"],
    "networkPolicy.apiServerPorts": [443, [], [0], ["443"], [443, 443]],
    "networkPolicy.apiServerCIDRs": ["192.0.2.10/32", ["192.0.2.10"], [1]],
    "networkPolicy.dnsPorts": [53, [], [65536]],
    "networkPolicy.dnsTo": [{}, [{}], [{"podSelector": {"k8s-app": "kube-dns"}}], [{"cidr": "192.0.2.10/32"}]],
    "networkPolicy.nodeCIDRs": ["192.0.2.0/24", ["192.0.2.1"], [1]],
    "networkPolicy.extraEgress": [{}, [{"from": []}], [{"to": [{"cidr": "x"}]}], [{"ports": [{"protocol": "tcp"}]}]],
    "beanstalkd.unknownKey": [1],
    "beanstalkd.enabled": ["true"],
    "beanstalkd.external": [
        "host",
        ["host"],
        [{}],
        [{"name": "eu"}],
        [{"host": "a", "user": "b"}],
        [{"host": "a"}] * 101,
    ],
    "beanstalkd.external.0.host": [
        1,
        "",
        "a..b",
        "a.-b",
        TOO_LONG,
        "a:11300",
        "http://a",
        "[::1",
        "[::1]:11300",
        "a b",
        "a/b",
    ],
    "beanstalkd.external.0.statefulSet": ["queue", {}, {"name": "a", "replicas": 1}],
    "beanstalkd.external.0.statefulSet.name": [1, "", "A", "a.b", "a" * 53],
    "beanstalkd.external.0.statefulSet.service": [1, "", "a.b"],
    "beanstalkd.external.0.statefulSet.namespace": ["", "a.b"],
    "beanstalkd.external.0.statefulSet.replicas": [0, 101, "2", 1.5],
    "beanstalkd.external.0.statefulSet.port": [11300],
    "beanstalkd.external.0.port": [0, 65536, "11300"],
    "beanstalkd.external.0.name": ["", 1, "a b", "a/b", "-a", TOO_LONG],
    "beanstalkd.image.registry": ["https://x"],
    "beanstalkd.image.repository": [""],
    "beanstalkd.image.tag": [1.13],
    "beanstalkd.image.digest": ["1.13"],
    "beanstalkd.image.pullPolicy": ["x"],
    "beanstalkd.persistence.enabled": ["true"],
    "beanstalkd.persistence.size": [1, "0", "-1Gi", "1GB", "1 Gi"],
    "beanstalkd.persistence.storageClass": [1, "-", "a..b"],
    "beanstalkd.persistence.accessModes": ["ReadWriteOnce", [], ["ReadOnlyMany"]],
    "beanstalkd.persistence.annotations": [{"a": 1}],
    "beanstalkd.persistence.whenDeleted": ["Keep"],
    "beanstalkd.extraArgs": ["-V", [1]],
    "beanstalkd.resources": [{"limits": {"memory": "x"}}],
    "beanstalkd.service.ipFamilyPolicy": ["DualStack", True],
    "beanstalkd.service.ipFamilies": ["IPv6", ["ipv6"], ["IPv6", "IPv6"]],
    "beanstalkd.service.annotations": [{"a": 1}],
    "beanstalkd.service.labels": [{"a": 1}],
    "beanstalkd.service.type": ["LoadBalancer"],
    "beanstalkd.networkPolicy.ingressFrom": [{}, [{}], [{"namespace": "shop"}], [{"ipBlock": {"cidr": "10.0.0.0"}}]],
    "beanstalkd.networkPolicy.externalTo": [
        {},
        [{}],
        [{"host": "eu.example.com"}],
        [{"ipBlock": {"cidr": "10.0.0.0"}}],
    ],
    "beanstalkd.podAnnotations": [{"a": 1}],
    "beanstalkd.podLabels": [{"a": 1}],
    "beanstalkd.nodeSelector": [{"a": 1}],
    "beanstalkd.tolerations": [{}],
    "beanstalkd.affinity": [[]],
    "beanstalkd.priorityClassName": ["A"],
    "metrics": [{}, ["ready"], [{"tubes": ["b"]}], [{"name": "a", "value": "ready"}]],
    "metrics.0.unknownKey": [1],
    "metrics.0.name": [1, "", "Upper", "a_b", "a.b", "-a", "a-", TOO_LONG],
    "metrics.0.tubes": ["checkout", [], [""], [1], ["-a"], ["a b"], ["a,b"], ["a", "a"], ["a\n"], ["a" * 201]],
    "metrics.0.servers": ["eu", [], [1], [""], ["a b"], ["eu", "eu"]],
    "metrics.0.value": [1, "", ["ready"], "r" * 1001],
    "metrics.0.per": ["tube", [], ["state"], ["tube", "tube"]],
    "metrics.0.onFailure": ["hold", "", 0, [], {"holds": "5m"}],
    "metrics.0.onFailure.hold": [300, "0s", "5 min", "-5m"],
    "metrics.0.onFailure.value": ["10", -1, 1e13],
    "metrics.0.maxAge": [15, "15", "0s"],
    "metrics.0.paused": ["ignor", "", True],
    "metrics.0.busy": ["kept", "", 10, [], {}, {"keep": 2, "drop": 1}],
    "metrics.0.busy.keep": [0, -1, "500m", "", "two", "0", "0.0", "007", 1e13],
    "metrics.0.unit": ["", " ", 1, "a\nb", "x" * 21],
    "metrics.0.namespaces": ["shop", [], [""], ["Shop"], ["a/b"], ["shop", "shop"]],
    "tenancy": [{}, [{"tubes": ["a"]}], [{"namespaces": ["shop"]}]],
    "tenancy.0.unknownKey": [1],
    "tenancy.0.namespaces": ["shop", [], ["Shop"]],
    "tenancy.0.tubes": ["a", [], ["a b"]],
    "autoscalers": [{}, [{"name": "a", "maxReplicas": 1}], [{"target": {"name": "a"}, "maxReplicas": 1}]],
    "autoscalers.0.unknownKey": [1],
    "autoscalers.0.name": [1, "", "Upper"],
    "autoscalers.0.namespace": ["", "a.b"],
    "autoscalers.0.target": ["worker", {}, {"kind": "Deployment"}, {"name": "a", "namespace": "b"}],
    "autoscalers.0.target.apiVersion": ["", "apps", 1, "a..b/v1"],
    "autoscalers.0.target.kind": ["deployment", ""],
    "autoscalers.0.target.resource": ["", "Rollouts", "rollouts/scale", "a.b", 1],
    "autoscalers.0.target.name": [1, "", "a..b"],
    "autoscalers.0.tube": [1, "", "a b", "-a", "a*", "a" * 201],
    "autoscalers.0.metric": [1, "", "a b", "a/b", "a%b"],
    "autoscalers.0.selector": ["tube=a", {"tube": "a"}, {"matchLabels": {"a b": "c"}}],
    "autoscalers.0.jobsPerPod": [0, -1, "0", "0.0", "two", "1Ki"],
    "autoscalers.0.targetValue": [0, "", "-1", 1e13],
    "autoscalers.0.perSecond": [0, -1, "", "5/s", "two"],
    "autoscalers.0.paused": ["ignor", "", True],
    "autoscalers.0.busy": ["kept", "", True, {"keep": 2}],
    "autoscalers.0.metrics": [{}, [], [{"name": "a"}], [{"tube": "a b"}], [{"tube": "a", "busy": "no"}]],
    "autoscalers.0.minReplicas": [-1, "1"],
    "autoscalers.0.maxReplicas": [0, "10", 100001],
    "autoscalers.0.immediate": ["true", 1],
    "autoscalers.0.idleFor": [300, "", "0s", "5 min", "-5m"],
    "autoscalers.0.activation": [-1, "", "-1", "ten", "1Ki", 1e13, True],
    "autoscalers.0.behavior": ["slow", "", {}, {"up": {}}],
    "autoscalers.0.behavior.scaleDown": [{"stabilizationWindowSeconds": 3601}],
    "autoscalers.0.labels": [{"a": 1}],
    "autoscalers.0.annotations": [{"a": 1}],
    "featureGates": [[], {"ScaleToZero": True}],
    "featureGates.HPAScaleToZero": ["true"],
    "forwardTo": ["a/b", {"insecure": True}],
    "forwardTo.service": [1, "a/b", "A"],
    "forwardTo.namespace": [1, "A", "a.b"],
    "forwardTo.port": [0, "443"],
    "forwardTo.caBundle": ["ca.crt", "MIIB", "-----BEGIN CERTIFICATE-----"],
    "console.unknownKey": [1],
    "console.enabled": ["true"],
    "console.readOnly": ["no", 0],
    "console.auth": ["none", True],
    "console.auth.mode": ["", "basic", False],
    "console.auth.password": ["secret"],
    "console.auth.existingSecret": ["mine"],
    "console.auth.existingSecret.name": [1, "Upper", "a/b"],
    "console.auth.existingSecret.key": ["", 1, "a/b", "a b"],
    "console.trustedProxies": ["10.0.0.0/8", [1], [""], ["proxy.example"], ["10.0.0.0/"]],
    "console.tls": ["mine", True],
    "console.tls.secretName": [1, "Upper", "a/b"],
    "console.tls.enabled": [True],
    "console.pathPrefix": [1, "a", "/", "/a/", "//a", "/..", "/a b", "/a?b", "https://a/b"],
    "console.logging.level": ["DEBUG"],
    "console.logging.format": ["xml"],
    "console.service.type": ["x", "ExternalName"],
    "console.service.port": [0],
    "console.service.nodePort": [0, 65536, "30001"],
    "console.service.ipFamilyPolicy": ["DualStack", True],
    "console.service.ipFamilies": ["IPv6", ["ipv6"], ["IPv6", "IPv6"]],
    "console.service.annotations": [{"a": 1}],
    "console.service.labels": [{"a": 1}],
    "console.ingress.enabled": ["true"],
    "console.ingress.className": [1, "A"],
    "console.ingress.annotations": [{"a": 1}],
    "console.ingress.hosts": ["a", [1], [""], ["A"], ["a:80"], ["https://a"], ["a/b"], ["a.*.b"], ["a", "a"]],
    "console.ingress.tls": [
        True,
        [{}],
        [{"secret": "a"}],
        [{"secretName": ""}],
        [{"hosts": "a"}],
        [{"hosts": ["a/b"]}],
    ],
    "console.ingress.path": ["/a"],
    "console.serviceAccount.create": ["true"],
    "console.serviceAccount.name": [1, "A"],
    "console.serviceAccount.annotations": [{"a": 1}],
    "console.networkPolicy.ingressFrom": [{}, [{}], [{"namespace": "shop"}]],
    "console.extraArgs": ["--read-only", [1]],
    "console.resources": [{"limits": {"memory": "x"}}],
    "console.podAnnotations": [{"a": 1}],
    "console.podLabels": [{"a": 1}],
    "console.nodeSelector": [{"a": 1}],
    "console.tolerations": [{}],
    "console.affinity": [[]],
    "console.priorityClassName": ["A"],
    "helloWorld.unknownKey": [1],
    "helloWorld.enabled": ["true"],
    "helloWorld.tube": ["", 1, "Upper", "a/b", "a b", "-a", TOO_LONG],
    "helloWorld.secondsPerJob": ["5", -1, 86401],
    "helloWorld.replicaCount": [-1, "1", 1.5],
    "helloWorld.autoscaling.enabled": ["true"],
    "helloWorld.autoscaling.jobsPerPod": [0, "2", 0.5],
    "helloWorld.autoscaling.perSecond": [0, "", "two"],
    "helloWorld.autoscaling.paused": ["ignor", True],
    "helloWorld.autoscaling.busy": ["kept", True],
    "helloWorld.autoscaling.minReplicas": [-1, "1"],
    "helloWorld.autoscaling.maxReplicas": [0, 1001, "10"],
    "helloWorld.autoscaling.immediate": ["true", 0],
    "helloWorld.autoscaling.idleFor": [300, "0s"],
    "helloWorld.autoscaling.activation": [-1, "ten"],
    "helloWorld.autoscaling.behavior": [[], {"up": {}}, {}, "", "gently"],
    "helloWorld.autoscaling.behavior.scaleUp": [
        {"policies": []},
        {"policies": [{"type": "Pods"}]},
        {"policies": [{"type": "Pod", "value": 1, "periodSeconds": 1}]},
        {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]},
    ],
    "helloWorld.autoscaling.behavior.scaleDown": [
        {"stabilizationWindowSeconds": 3601},
        {"selectPolicy": "None"},
        {"tolerance": -1},
    ],
    "helloWorld.resources": [{"limits": {"memory": "x"}}],
    "helloWorld.service.type": ["x"],
    "helloWorld.service.port": [0],
    "helloWorld.service.ipFamilyPolicy": ["DualStack", True],
    "helloWorld.service.ipFamilies": ["IPv6", ["ipv6"], ["IPv6", "IPv6"]],
    "helloWorld.service.annotations": [{"a": 1}],
    "helloWorld.service.labels": [{"a": 1}],
    "helloWorld.podAnnotations": [{"a": 1}],
    "helloWorld.podLabels": [{"a": 1}],
    "helloWorld.nodeSelector": [{"a": 1}],
    "helloWorld.tolerations": [{}],
    "helloWorld.affinity": [[]],
    "helloWorld.priorityClassName": ["A"],
    "serviceMonitor.unknownKey": [1],
    "serviceMonitor.enabled": ["true"],
    "serviceMonitor.authorization": ["token", {"type": "Basic"}],
    "serviceMonitor.authorization.credentials": ["token", {"optional": True}],
    "serviceMonitor.authorization.credentials.name": [1, "A"],
    "serviceMonitor.authorization.credentials.key": ["", "a/b"],
    "serviceMonitor.additionalLabels": [{"a": 1}],
    "serviceMonitor.interval": [30, "30", "0s", "1.5m", "30 s", "s30"],
    "serviceMonitor.scrapeTimeout": [10, "-1s"],
    "serviceMonitor.relabelings": [{}, ["keep"], [{"source_labels": ["a"]}], [{"action": "remove"}]],
    "serviceMonitor.metricRelabelings": [[{"sourceLabels": "a"}], [{"modulus": 0}], [{"regex": 1}]],
    "serviceMonitor.insecureSkipVerify": [True],
    "prometheusRule.unknownKey": [1],
    "prometheusRule.enabled": ["true"],
    "prometheusRule.additionalLabels": [{"a": 1}],
    "prometheusRule.buriedJobs": [-1, "10", 0.5],
    "prometheusRule.certificateLifeLeftPercent": [0, 100, 0.25, "25", "25%"],
    "prometheusRule.disabled": [["BeanscaleDown"], {"BeanscaleUp": True}, {"BeanscaleDown": "yes"}],
    "dashboard.unknownKey": [1],
    "dashboard.enabled": ["true"],
    "dashboard.labels": [{"grafana_dashboard": 1}],
    "dashboard.annotations": [{"a": 1}],
    "scaling": [True, []],
    "scaling.enabled": ["true", 0],
    "scaling.unknownKey": [1],
    "test.enabled": ["true"],
    "test.timeout": [60, "0s", "1 min"],
    "test.resources": [{"limits": {"memory": "x"}}],
    "extraObjects": [{}, [1], [{}], [{"kind": "ConfigMap"}], [""]],
}


# What each element of a list needs.
NEEDED: dict[str, Any] = {
    "beanstalkd.external": {"host": "beanstalkd.example.com"},
    "metrics": {"name": "a", "tubes": ["b"], "value": "ready"},
    "tenancy": {"namespaces": ["shop"], "tubes": ["b"]},
    "autoscalers": {"name": "a", "target": {"name": "b"}, "tube": "c", "jobsPerPod": 1, "maxReplicas": 1},
}


def nested(path: str, value: Any, above: str = "") -> Any:
    """`a.0.b`, 1 → {a: [{b: 1}]}; a list's first element gets what each needs."""
    key, _, rest = path.partition(".")
    inner = nested(rest, value, f"{above}.{key}".strip(".")) if rest else value
    if key != "0":
        return {key: inner}
    needed = NEEDED[above]
    ((name, given),) = inner.items()
    deeper = "." in rest and isinstance(needed.get(name), dict)
    return [{**needed, name: {**needed[name], **given} if deeper else given}]


CASES = [(path, value) for path, values in WRONG.items() for value in values]


def batches() -> Iterator[list[int]]:
    """Group the positions of cases whose values don't overlap: Helm reports all errors of a batch at once."""
    left = list(range(len(CASES)))
    while left:
        places: list[str] = []
        batch = []
        for case in left:
            place = CASES[case][0].partition(".0.")[0]
            if not any(f"{place}.".startswith(f"{each}.") or f"{each}.".startswith(f"{place}.") for each in places):
                places.append(place)
                batch.append(case)
        yield batch
        left = [case for case in left if case not in batch]


def merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


@pytest.fixture(scope="module")
def refusals(chart: Chart) -> Mapping[int, str]:
    """What Helm says about the batch of each case."""
    said: dict[int, str] = {}
    for batch in batches():
        values: Any = {}
        for case in batch:
            values = merged(values, nested(*CASES[case]))
        said |= dict.fromkeys(batch, chart.refusal(values))
    return said


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: f"{CASES[case][0]}-{CASES[case][1]!r:.30}")
def test_an_invalid_value_is_rejected_by_its_path(refusals: Mapping[int, str], case: int) -> None:
    path = CASES[case][0]
    parent, _, key = path.rpartition(".")
    named = rf"at '/{path.replace('.', '/')}['/]"
    unknown = rf"at '{'/' if parent else ''}{parent.replace('.', '/')}': additional properties .*'{re.escape(key)}'"
    assert re.search(f"{named}|{unknown}", refusals[case])


def leaves(values: Any, path: str = "") -> list[str]:
    """The paths of all keys whose default isn't a filled mapping."""
    if isinstance(values, dict) and values:
        return [leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}" if path else key)]
    return [path]


def test_the_table_of_wrong_values_has_every_key_of_the_chart(chart: Chart) -> None:
    """Each key needs an invalid value in the table, or its parent does."""
    every = leaves(yaml.safe_load((chart.path / "values.yaml").read_text()))
    untried = [leaf for leaf in every if not any(leaf == tried or leaf.startswith(f"{tried}.") for tried in WRONG)]
    assert untried == []


@pytest.mark.parametrize(
    "path",
    [
        "server",
        "server.replicaCount",
        "beanstalkd.image",
        "helloWorld.autoscaling.maxReplicas",
        "rbac.create",
        "console.readOnly",
    ],
)
def test_a_required_value_cannot_be_removed(chart: Chart, path: str) -> None:
    """`null` removes a default; without the check a missing number would render as 0."""
    assert f"missing property '{path.rpartition('.')[2]}'" in chart.refusal(nested(path, None))


def test_an_optional_default_can_be_removed(chart: Chart) -> None:
    """OpenShift picks the user itself."""
    objects = chart.render({"podSecurityContext": {"runAsUser": None, "fsGroup": None}, "server": {"resources": None}})
    assert "runAsUser" not in objects.pods()["server"]["spec"]["securityContext"]
    assert "resources" not in objects.pods()["server"]["spec"]["containers"][0]


def objects_of(schema: Any) -> list[Any]:
    children = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    return [each for child in children for each in objects_of(child)] + ([schema] if isinstance(schema, dict) else [])


def test_every_object_in_the_schema_that_lists_its_keys_is_closed_except_global(chart: Chart) -> None:
    schema = json.loads(Path(chart.path / "values.schema.json").read_text())
    # Lists and objects of Kubernetes that only have to hold a few keys of ours are checked by the API server in full.
    openly = [
        list(each["properties"])
        for each in objects_of(schema)
        if "properties" in each and each.get("additionalProperties") is not False
    ]
    assert ["imageRegistry", "imagePullSecrets"] in openly
    assert [keys for keys in openly if keys not in (["imageRegistry", "imagePullSecrets"], ["name"], ["weight"])] == []
