"""What explain and the console say about real HPAs never contradicts the conditions that Kubernetes reports of them.

All HPAs are created at once and looked at three times: at rest, while the HPA controller may not read the metrics, and
while beanstalkd is down. Pods that nothing depends on are never scheduled: an average per pod counts them all the same.
"""

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster.commands import eventually, ran
from tests.cluster.release import VERSION, Release
from tests.cluster.workloads import AT_ONCE, restricted_pod

pytestmark = pytest.mark.timeout(580)

type Json = dict[str, Any]

JOBS = {"verdicts-none": 0, "verdicts-six": 6, "verdicts-many": 1000, "verdicts-paused": 6}
"""Tube to its ready jobs. No worker watches them."""
FROZEN = "verdicts-frozen"
SLOW = {
    way: {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}]}
    for way in ("scaleUp", "scaleDown")
}
DISABLED = {way: {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"} for way in ("scaleUp", "scaleDown")}
CAREFUL = {"scaleUp": {"stabilizationWindowSeconds": 600}, "scaleDown": {"stabilizationWindowSeconds": 600}}
BRIEF = {"scaleDown": {"stabilizationWindowSeconds": 5}}


def external(name: str, labels: Json | None = None, **target: str) -> Json:
    metric = {"name": name} | ({"selector": {"matchLabels": labels}} if labels else {})
    target = target or {"averageValue": "2"}
    kind = "Value" if "value" in target else "AverageValue"
    return {"type": "External", "external": {"metric": metric, "target": {"type": kind, **target}}}


def cpu(source: str = "Resource", **container: str) -> Json:
    target = {"type": "Utilization", "averageUtilization": 50}
    return {"type": source, source[:1].lower() + source[1:]: {"name": "cpu", "target": target, **container}}


NONE, SIX, MANY, PAUSED = (external(f"tube-{tube}") for tube in JOBS)
OF_SIX = {"tube": "verdicts-six"}
AGE = "beanstalkd_tube_next_job_age_seconds"
MISSPELLED = external("beanstalkd_tube_job")


@dataclass(frozen=True)
class Case:
    """An HPA and its workload, of the same name."""

    metrics: list[Json]
    reason: str
    """In one of its conditions, at rest."""
    replicas: int = 1
    """At the beginning."""
    minimum: int = 1
    maximum: int = 10
    behavior: Json = field(default_factory=lambda: AT_ONCE)
    kind: str = "Deployment"
    """Of the workload."""
    target: str | None = None
    """Name of the workload, if it is another's or no one's."""
    more: Json = field(default_factory=dict)
    """In the workload's spec."""
    command: tuple[str, ...] = ()
    """Of pods that run; the others are never scheduled."""
    annotations: Json = field(default_factory=dict)
    """Of the HPA, below `beanscale/`. The scaler may not change these workloads."""


CASES = {
    "target-missing": Case([SIX], "FailedGetScale", target="nobody"),
    "target-without-scale": Case([SIX], "FailedGetScale", kind="DaemonSet"),
    "target-frozen": Case([SIX], "FailedUpdateScale"),
    "at-zero-by-hand": Case([SIX], "ScalingDisabled", replicas=0),
    "at-zero-by-hand-with-minimum-0": Case([SIX], "ScalingDisabled", replicas=0, minimum=0),
    "at-zero-by-annotation": Case([NONE], "ScalingDisabled", replicas=0, annotations={"scale-to-zero": "1h"}),
    "at-zero-by-annotation-with-jobs": Case([SIX], "ScalingDisabled", replicas=0, annotations={"scale-to-zero": "1h"}),
    "immediate-without-permission": Case([SIX], "DesiredWithinRange", annotations={"immediate": "true"}),
    "at-zero-by-itself": Case([NONE], "ScaledToZero", minimum=0),
    "minimum-0-with-jobs": Case([SIX], "DesiredWithinRange", minimum=0),
    "idle": Case([NONE], "TooFewReplicas", behavior=BRIEF),
    "idle-without-behavior": Case([NONE], "ScaleDownStabilized", behavior={}),
    "few-jobs": Case([external("tube-verdicts-six", averageValue="100")], "DesiredWithinRange"),
    "at-maximum": Case([MANY], "TooManyReplicas", maximum=3),
    "above-maximum-at-first": Case([SIX], "DesiredWithinRange", replicas=5, maximum=3),
    "minimum-is-maximum": Case([MANY], "TooManyReplicas", minimum=2, maximum=2),
    "scaled-up": Case([SIX], "DesiredWithinRange"),
    "scaled-down": Case([SIX], "DesiredWithinRange", replicas=5),
    "window-active": Case([NONE], "ScaleDownStabilized", replicas=3, behavior=CAREFUL),
    "window-active-without-behavior": Case([NONE], "ScaleDownStabilized", replicas=3, behavior={}),
    "window-before-more": Case([MANY], "ScaleUpStabilized", behavior=CAREFUL),
    "window-over": Case([NONE], "TooFewReplicas", replicas=3, behavior=BRIEF),
    "policy-up": Case([MANY], "ScaleUpLimit", behavior=SLOW),
    "policy-down": Case([NONE], "ScaleDownLimit", replicas=4, behavior=SLOW),
    "disabled-up": Case([MANY], "ScaleUpLimit", behavior=DISABLED),
    "disabled-down": Case([NONE], "ScaleDownLimit", replicas=3, behavior=DISABLED),
    "within-tolerance": Case([external("tube-verdicts-six", averageValue="1900m")], "DesiredWithinRange", replicas=3),
    "within-its-own-tolerance": Case(
        [SIX], "DesiredWithinRange", replicas=2, behavior={"scaleUp": {"tolerance": "600m"}}
    ),
    "paused-tube": Case([PAUSED], "DesiredWithinRange"),
    "misspelled-tube": Case([external("tube-verdicts-sxi")], "TooFewReplicas"),
    "misspelled-metric": Case([MISSPELLED], "FailedGetExternalMetric"),
    "misspelled-label": Case([external("beanstalkd_tube_jobs", {"state": "redy"})], "FailedGetExternalMetric"),
    "invalid-selector": Case([external("beanstalkd_tube_jobs", {"tube": "a b"})], "FailedGetExternalMetric"),
    "one-of-two-fails-down": Case([SIX, MISSPELLED], "FailedGetExternalMetric", replicas=5),
    "one-of-two-fails-up": Case([SIX, MISSPELLED], "DesiredWithinRange"),
    "two-metrics": Case([SIX, NONE], "DesiredWithinRange"),
    "cpu-fails": Case([SIX, cpu()], "FailedGetResourceMetric", replicas=4),
    "container-cpu-fails": Case(
        [SIX, cpu("ContainerResource", container="main")], "FailedGetContainerResourceMetric", replicas=4
    ),
    "age": Case([external(AGE, OF_SIX, value="100000")], "DesiredWithinRange", command=("sleep", "infinity")),
    "age-per-pod": Case([external(AGE, OF_SIX, averageValue="1m")], "TooManyReplicas", maximum=2),
    "rate": Case([external("beanstalkd_tube_jobs_put_per_second", OF_SIX)], "TooFewReplicas"),
    "value": Case(
        [external("tube-verdicts-six", value="3")], "TooManyReplicas", maximum=2, command=("sleep", "infinity")
    ),
    "value-no-pod-ready": Case([external("tube-verdicts-six", value="3")], "TooFewReplicas"),
    "pods-crash": Case([SIX], "DesiredWithinRange", command=("false",)),
    "two-on-one-a": Case([SIX], "AmbiguousSelector"),
    "two-on-one-b": Case([SIX], "AmbiguousSelector", target="two-on-one-a"),
    "rollout-paused": Case([SIX], "DesiredWithinRange", more={"paused": True}),
    "stateful": Case([SIX], "DesiredWithinRange", kind="StatefulSet", more={"podManagementPolicy": "Parallel"}),
}


METRICS = sorted(
    {each["external"]["metric"]["name"] for case in CASES.values() for each in case.metrics if "external" in each}
)


def contradiction(conditions: Mapping[str, tuple[str, str]], verdict: str) -> str:
    """Return how a verdict about an HPA at rest contradicts its conditions (type to status and reason), or nothing.

    At rest no change is due, and the reason why the pods are kept is the conditions'.
    """
    (able, able_reason), (active, active_reason), (limited, limit) = (
        conditions.get(kind, ("Unknown", "")) for kind in ("AbleToScale", "ScalingActive", "ScalingLimited")
    )
    if able == "False":
        possible = {able_reason}
    elif active == "False":
        possible = {"no value" if active_reason.startswith("FailedGet") else active_reason}
    else:
        possible = {able_reason} if able_reason.endswith("Stabilized") else set()
        possible |= {limit} if limited == "True" else set()
    claimed = {reason for words, reason in CLAIMS.items() if re.search(words, verdict)}
    if " now → " in verdict:
        return f"a change is announced: {verdict}"
    if (claimed or possible) and not claimed & possible:
        return f"{claimed or 'the metric'} instead of {possible or 'the metric'}: {verdict}"
    return ""


CLAIMS = {
    "no metric has a value|is skipped while .* has no value": "no value",
    "stabilization uses the highest": "ScaleDownStabilized",
    "stabilization uses the lowest": "ScaleUpStabilized",
    r"minReplicas is \d": "TooFewReplicas",
    r"maxReplicas is \d": "TooManyReplicas",
    r"scaleUp allow|scaleUp\.selectPolicy is": "ScaleUpLimit",
    r"scaleDown allow|scaleDown\.selectPolicy is": "ScaleDownLimit",
} | {
    f"reports {reason}": reason
    for reason in (
        "FailedGetScale",
        "FailedUpdateScale",
        "ScalingDisabled",
        "InvalidSelector",
        "AmbiguousSelector",
        "TooFewReplicas",
        "TooManyReplicas",
    )
}
"""Words of a verdict to the reason that a condition would have for the same."""

AT_REST = {"AbleToScale": ("True", "ReadyForNewScale"), "ScalingActive": ("True", "ValidMetricFound")}


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        ({"AbleToScale": ("False", "FailedGetScale")}, "0 pods, no change: the workload was scaled to 0 manually"),
        (AT_REST | {"ScalingLimited": ("True", "TooFewReplicas")}, "1 pod, no change: stabilization uses the highest"),
        (AT_REST | {"ScalingLimited": ("False", "DesiredWithinRange")}, "3 pods, no change: no metric has a value now"),
        (AT_REST, "1 pod now → 3: tube-x is 6"),
        (AT_REST | {"ScalingActive": ("False", "FailedGetExternalMetric")}, "1 pod, no change: tube-x is 1 → 1 pod"),
    ],
)
def test_a_contradiction_is_found(conditions: Mapping[str, tuple[str, str]], verdict: str) -> None:
    assert contradiction(conditions, verdict)


def objects(name: str, case: Case) -> Iterator[Json]:
    """Yield the manifests of a case."""
    if case.target is None:
        pod = restricted_pod("main", f"beanscale:{VERSION}", command=list(case.command or ("true",)))
        pod = {**pod, **({} if case.command else {"nodeSelector": {"verdicts": "nowhere"}})}
        labels = {"verdicts": name}
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
        spec |= {} if case.kind == "DaemonSet" else {"replicas": case.replicas}
        yield {"apiVersion": "apps/v1", "kind": case.kind, "metadata": {"name": name}, "spec": spec | case.more}
    yield {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name,
            "labels": {"verdicts": "case"},
            "annotations": {f"beanscale/{key}": value for key, value in case.annotations.items()},
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": case.kind, "name": case.target or name},
            "minReplicas": case.minimum,
            "maxReplicas": case.maximum,
            "metrics": case.metrics,
            **({"behavior": case.behavior} if case.behavior else {}),
        },
    }


NO_SCALE_UPDATE = (
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": FROZEN},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["deployments/scale"],
                        "resourceNames": ["target-frozen"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "frozen"}],
        },
    },
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": FROZEN},
        "spec": {"policyName": FROZEN, "validationActions": ["Deny"]},
    },
)


@dataclass(frozen=True)
class Cluster:
    """The release, with an HPA for each case."""

    release: Release
    console: httpx.Client

    def hpas(self) -> Mapping[str, Json]:
        """Return the HPAs by name."""
        found = self.release.read("hpa", "--selector=verdicts=case")["items"]
        return {each["metadata"]["name"]: each for each in found}

    def verdicts(self) -> Mapping[str, Mapping[str, str]]:
        """Return what is said of each HPA, by who says it."""
        with ThreadPoolExecutor(4) as threads:
            documents = threads.map(
                json.loads, threads.map(lambda metric: self._explained(metric, "--output=json"), METRICS)
            )
            texts = threads.map(self._explained, METRICS)
            pages = dict(zip(CASES, threads.map(self._page, CASES), strict=True))
            listed = {one["name"]: one["sentence"] for one in self.get("/api/autoscalers").json()["autoscalers"]}
        shown = {one["name"]: one["decision"]["sentence"] for document in documents for one in document["autoscalers"]}
        blocks = re.compile(r"^Autoscaler \S+?/(\S+)\s+of\s+(.*?)\n\n", re.MULTILINE | re.DOTALL)
        written = {name: block for text in texts for name, block in blocks.findall(text)}
        return {
            name: {
                "explain": shown[name],
                "explain's text": self._decided(written[name]),
                "list": listed[name],
                "page": pages[name],
            }
            for name in CASES
        }

    def get(self, path: str, **query: str) -> httpx.Response:
        response = self.console.get(path, params=query)
        assert response.status_code == 200, response.text
        return response

    def _page(self, name: str) -> str:
        page = self.get("/api/autoscaler", namespace=self.release.namespace, name=name).json()
        return str(page["document"]["autoscalers"][0]["decision"]["sentence"])

    def _explained(self, metric: str, *options: str) -> str:
        namespace = ("--namespace", self.release.namespace)
        return self.release.kubectl(
            "exec", self.release.servers, "--", "beanscale", "explain", metric, *namespace, *options
        )

    @staticmethod
    def _decided(text: str) -> str:
        """Return the change, and the step of the stage that decided, of an HPA's part of the text."""
        heading, _, lines = text.partition("\n  ")
        stage = re.search(r"^  Decided by +(\w+)", lines, re.MULTILINE)
        assert stage, text
        steps = re.findall(rf"^ {{0,2}}{stage[1]} +(\S.*(?:\n {{18}}.*)*)", lines, re.MULTILINE)
        assert steps, text
        return f"{heading.rpartition(': ')[2]}: {' '.join(steps[-1].split())}"


@pytest.fixture(scope="module")
def cluster(release: Release) -> Iterator[Cluster]:
    """Each HPA at rest."""
    manifests = [each for name, case in CASES.items() for each in objects(name, case)]
    hpas = [each for each in manifests if each["kind"] == "HorizontalPodAutoscaler"]
    workloads = [*NO_SCALE_UPDATE, *(each for each in manifests if each not in hpas)]
    kubectl = ("kubectl", "--namespace", release.namespace)
    with release.beanstalkd() as client:
        for tube, jobs in JOBS.items():
            client.use(tube)
            for _ in range(jobs):
                client.put(b"waits")
        client.pause_tube("verdicts-paused", 3600)
    ran(*kubectl, "create", "--filename=-", given=yaml.safe_dump_all(workloads))
    for name in ("within-tolerance", "within-its-own-tolerance", "value"):  # what these report depends on their pods
        wanted = f"jsonpath={{.status.replicas}}={CASES[name].replicas}"
        release.wait(f"deployment/{name}", wanted if name != "value" else "jsonpath={.status.readyReplicas}=1")
    ran(*kubectl, "create", "--filename=-", given=yaml.safe_dump_all(hpas))
    password = b64decode(release.read("secret/beanscale-console")["data"]["password"]).decode()
    url = f"http://{release.address('console')}"
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as console:
        assert console.post("/login", data={"password": password}, headers={"origin": url}).status_code == 303
        yield Cluster(release, console)
    ran(*kubectl, "delete", "--filename=-", "--wait=false", given=yaml.safe_dump_all([*hpas, *workloads]))
    release.kubectl("delete", "pod", "beanscale-beanstalkd-0")  # and with it all jobs
    release.wait_for_rollout(release.beanstalkds)


def conditions_of(hpa: Json) -> Mapping[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in hpa["status"].get("conditions", ())}


def reported(cluster: Cluster, reasons: Mapping[str, str]) -> bool:
    """Assert that each HPA reports its reason, and that its last sync changed nothing."""
    hpas = cluster.hpas()
    found = {name: {reason for _, reason in conditions_of(hpas[name]).values()} for name in CASES}
    others = {
        name: found[name] for name in CASES if reasons[name] not in found[name] or "SucceededRescale" in found[name]
    }
    assert not others, others
    return True


def contradictions(cluster: Cluster) -> list[str]:
    before, verdicts, after = cluster.hpas(), cluster.verdicts(), cluster.hpas()
    changed = [name for name in CASES if conditions_of(before[name]) != conditions_of(after[name])]
    assert not changed, changed
    return [
        f"{name}: {source}: {found}; {conditions_of(after[name])}"
        for name in CASES
        for source, verdict in verdicts[name].items()
        if (found := contradiction(conditions_of(after[name]), verdict))
    ]


def wait_for_rest(cluster: Cluster) -> None:
    expected = {name: case.reason for name, case in CASES.items()}
    eventually(lambda: reported(cluster, expected), "every HPA at rest", within_s=150)


def test_at_rest_no_verdict_contradicts_the_conditions(cluster: Cluster) -> None:
    wait_for_rest(cluster)
    assert contradictions(cluster) == []


def test_at_zero_by_annotation_beanscale_is_named_after_kubernetes_report(cluster: Cluster) -> None:
    wait_for_rest(cluster)
    for words in cluster.verdicts()["at-zero-by-annotation"].values():
        assert re.search("reports ScalingDisabled: .*; beanscale scales it up once a job is ready", words), words


def test_the_console_has_each_value_that_an_hpa_has(cluster: Cluster) -> None:
    """In the list, and in the chart."""

    def values() -> bool:
        listed = {one["name"]: one for one in cluster.get("/api/autoscalers").json()["autoscalers"]}
        for name, hpa in cluster.hpas().items():
            for position, current in enumerate(hpa["status"].get("currentMetrics") or ()):
                if current["type"] == "External":
                    assert listed[name]["metrics"][position]["total"] is not None, name
        query = {"namespace": cluster.release.namespace, "name": "age"}
        series = cluster.get("/api/autoscaler", **query).json()["series"]
        assert series["value"][-1] is not None, series
        assert series["current"][-1] == 1, series
        return True

    eventually(values, "values of all metrics")


def without_values(case: Case) -> str:
    """Return the reason that the HPA reports if no External metric has a value."""
    if case.reason in {"FailedGetScale", "ScalingDisabled", "AmbiguousSelector"}:
        return case.reason
    return "FailedGetExternalMetric"


def test_without_permission_no_verdict_contradicts_the_conditions(cluster: Cluster) -> None:
    """The HPA controller may not read the metrics; explain and the console may."""
    roles = [
        each
        for each in cluster.release.read("clusterrole")["items"]
        if each["metadata"]["name"].endswith(("metrics-reader", "controller:horizontal-pod-autoscaler"))
    ]
    for role in roles:
        del role["metadata"]["resourceVersion"]
    without = [
        role | {"rules": [rule for rule in role["rules"] if rule["apiGroups"] != ["external.metrics.k8s.io"]]}
        for role in roles
    ]
    ran("kubectl", "replace", "--filename=-", given=yaml.safe_dump_all(without))
    try:
        expected = {name: without_values(case) for name, case in CASES.items()}
        eventually(lambda: reported(cluster, expected), "every HPA without values", within_s=90)
        assert contradictions(cluster) == []
    finally:
        ran("kubectl", "replace", "--filename=-", given=yaml.safe_dump_all(roles))


def test_in_an_outage_no_verdict_contradicts_the_conditions(cluster: Cluster) -> None:
    wait_for_rest(cluster)
    release = cluster.release
    release.kubectl("scale", release.beanstalkds, "--replicas=0")
    try:
        expected = {name: without_values(case) for name, case in CASES.items()}
        eventually(lambda: reported(cluster, expected), "every HPA without values", within_s=90)
        assert contradictions(cluster) == []
    finally:
        release.kubectl("scale", release.beanstalkds, "--replicas=1")
        release.wait(release.beanstalkds, "jsonpath={.status.readyReplicas}=1")
