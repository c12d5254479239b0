"""`beanscale explain`: text for people, JSON for programs, an exit status for scripts."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.cli import main
from app.explain.collect import ExplainQuery, collect
from app.explain.main import explain
from app.explain.report import make_report, report_json
from app.explain.text_report import render
from app.kube.certificates.renewal import KeyRing
from app.kube.credentials import own_namespace
from tests.unit.explain.cluster import DEPLOYMENT, EVENTS, HPAS, METRICS, Cluster, deployment, event, listed
from tests.unit.explain.explanations import RULE, explanation, item, server, tube
from tests.unit.hpa.hpas import Json, condition, external, hpa
from tests.unit.kube.apiserver import Answer, Apiserver, kubeconfig
from tests.unit.kube.conftest import apiserver, cluster, listener, service_account

__all__ = ["apiserver", "cluster", "listener", "service_account"]  # fixtures

ORDERS = f"{METRICS}/tube-orders"
ACTIVE = [
    condition("AbleToScale", "ReadyForNewScale"),
    condition("ScalingActive", "ValidMetricFound"),
    condition("ScalingLimited", "DesiredWithinRange", "False"),
]


def written(
    answer: Json, *hpas: Json, workload: Json | int = 404, autoscalers: Json | int | None = None, selector: str = ""
) -> str:
    answers = {
        (ORDERS, selector): answer,
        (HPAS, ""): listed(*hpas) if autoscalers is None else autoscalers,
        (DEPLOYMENT, ""): workload,
    }
    lines = list(render(explain(Cluster(answers), ExplainQuery("tube-orders", "shop", selector))))
    assert max(map(len, lines)) <= 100
    return "\n".join(lines) + "\n"


def test_the_text_shows_each_step_from_the_jobs_to_the_pods() -> None:
    prompt = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}}
    answer = explanation(tubes=[tube(ready=19)], items=[item("20", "19 + 1")])
    assert (
        written(answer, hpa(behavior=prompt, conditions=ACTIVE), workload=deployment(1, 1, 1))
        == """\
tube-orders in namespace shop is 20 jobs
  Jobs ready and reserved in the tube orders, over all servers.
  19 + 1 = 20

Servers
  server  address           state
  eu      eu.example:11300  ok, read 1 s ago (maxAge 15 s)

Tubes
  server  tube    read     ready  reserved  delayed  buried  watching
  eu      orders  1 s ago     19         1        0       0         2

Autoscaler shop/orders of Deployment/orders: 1 pod now → 10
  formula         tube-orders is 20, target 2 per pod: 20 ÷ 2 = 10 → 10 pods
  limits          10 is within minReplicas 1 and maxReplicas 10
  Decided by      formula: 10 pods at the next sync
  AbleToScale     it can scale now
  ScalingActive   it has a metric value
  ScalingLimited  within minReplicas and maxReplicas

"""
    )


def test_the_text_shows_the_metric_as_the_hpas_query_it() -> None:
    unpaused = external("tube-orders", {"matchLabels": {"paused": "false"}}, averageValue="2")
    answers: Json = {
        (ORDERS, ""): explanation(items=[item("20", "19 + 1")]),
        (ORDERS, "paused=false"): explanation(selector="paused=false", items=[item("1", "0 + 1")]),
        (HPAS, ""): listed(hpa(unpaused)),
    }
    text = "\n".join(render(explain(Cluster(answers), ExplainQuery("tube-orders", "shop"))))
    assert text.startswith("tube-orders{paused=false} in namespace shop is 1 job\n")
    assert "tube-orders in namespace" not in text


def test_stabilization_is_explained_although_the_hpa_has_no_conditions_yet() -> None:
    text = written(explanation(), hpa(current=8), workload=deployment(8, 8, 8))
    assert "8 pods, no change" in text
    assert "Decided by      stabilization: 8 pods at the next sync" in text
    assert "The HPA controller hasn't synced it yet" in text


def test_the_number_that_zero_pods_leave_in_a_status_is_not_repeated() -> None:
    nonsense = {
        "type": "External",
        "external": {"metric": {"name": "x"}, "current": {"averageValue": "-9223372036854775808m"}},
    }
    resting = hpa(
        minimum=0,
        current=0,
        current_metrics=[nonsense],
        conditions=[*ACTIVE, condition("ScaledToZero", "ScaledToZero")],
    )
    answers = {(ORDERS, ""): explanation(items=[item("0", "0 + 0")]), (HPAS, ""): listed(resting)}
    report = explain(Cluster(answers), ExplainQuery("tube-orders", "shop"))
    shown = "\n".join(render(report)) + json.dumps(report_json(report))
    assert "9223372036854775808" not in shown
    assert "0 pods, no change" in shown


def test_a_metric_without_value_and_its_blocked_autoscaler_are_explained() -> None:
    failed = condition("ScalingActive", "FailedGetExternalMetric", "False", "unable to get external metric")
    error = {"reason": "ServiceUnavailable", "message": "eu can't be read: connection refused", "near": []}
    down = server(fresh=False, ageSeconds=130, failure="connection refused", failingForSeconds=125)
    text = written(explanation(items=[], tubes=[], servers=[down], error=error), hpa(current=3, conditions=[failed]))
    assert text.startswith("tube-orders in namespace shop has no value\n")
    assert "eu      eu.example:11300  failed, see Findings" in text
    assert "no metric has a value now, so the autoscaler keeps 3 pods" in text
    assert "“unable to get external metric”" in text
    assert "beanscale has no value either" in text
    assert "metrics-reader" in written(explanation(), hpa(current=3, conditions=[failed]))


def test_a_substitute_is_one_statement() -> None:
    how = "7 instead: drain has no value: divides by deleted_per_second, which is 0"
    text = written(explanation(items=[item("7", how)]))
    assert f"\n  {how}\n" in text


def test_a_server_that_fails_is_not_ok_while_its_reading_counts() -> None:
    failing = server(ageSeconds=3, failure="connection refused", failingForSeconds=2)
    text = " ".join(written(explanation(servers=[failing])).split())
    reason = "connection refused; its last reading, 3 s old, still counts"
    assert f"- beanstalkd eu at eu.example:11300 can't be read for 2 s: {reason}" in text
    assert "eu.example:11300 failing for 2 s, see Findings" in text


def test_an_unknown_name_gets_similar_ones() -> None:
    message = "there is no metric tube-ordres; did you mean tube-orders?"
    error = {"reason": "NotFound", "message": message, "near": ["tube-orders"]}
    text = written(explanation(rule=None, servers=[], tubes=[], items=[], error=error))
    assert "- Error: there is no metric tube-ordres; did you mean tube-orders?" in text
    assert "No HorizontalPodAutoscaler in namespace shop uses this metric." in text


def test_a_permission_that_is_missing_is_named() -> None:
    text = written(explanation(), autoscalers=403)
    assert "Autoscalers: unknown" in text
    assert "list horizontalpodautoscalers.autoscaling in namespace shop" in " ".join(text.split())


def test_of_many_tubes_twenty_are_shown() -> None:
    tubes = [tube(f"orders-{number}") for number in range(30)]
    text = written(explanation(tubes=tubes, tubesOmitted=500))
    assert text.count("  eu      orders-") == 20
    assert "and 510 more" in text


def test_an_invalid_field_is_unknown_with_its_reason() -> None:
    reason = "current-jobs-buried: counter below zero (-1)"
    text = written(explanation(tubes=[tube(buried=None) | {"invalid": {"buried": reason}}]))
    assert f"Tube orders on eu has no valid {reason}" in text
    row = text.partition("Tubes\n")[2].splitlines()[1]
    assert "  ".join(row.split()[-5:]) == "3  1  0  unknown  2"


def test_several_values_are_shown_by_label_and_as_a_sum_and_a_rule_by_its_formula() -> None:
    rule = RULE | {"builtIn": False, "name": "backlog", "meaning": "A rule of yours", "tubes": ["a", "b-*"]}
    items = [item("1500m", "1.5", labels={"tube": tube_name}, window=60) for tube_name in ("a", "b-1")]
    text = written(explanation(rule=rule, items=items))
    assert "A rule of yours (rule backlog: ready + reserved, tubes a, b-*)" in text
    assert "tube=a: 1.5 = 1.5, over 1 min\n" in text
    assert "The autoscaler uses the sum: 3\n" in text


def test_of_many_values_twenty_are_shown_and_all_are_in_the_sum() -> None:
    items = [item(str(number), labels={"tube": f"t{number:03}"}) for number in range(100)]
    text = written(explanation(items=items, itemsOmitted=50, total="11175"))
    assert text.startswith("tube-orders in namespace shop is 11175 jobs\n")
    assert "and 130 more values\n" in text
    assert "The autoscaler uses the sum: 11175\n" in text


def test_no_terminal_control_sequence_is_printed() -> None:
    down = server(fresh=False, failure="\x1b[2J\nrefused")
    text = written(explanation(servers=[down], tubes=[tube("a\x07")]))
    assert "?[2J refused" in text
    assert "\x1b" not in text
    assert "a?" in text


def test_the_json_has_the_metric_and_the_steps() -> None:
    answers = {(ORDERS, ""): explanation(), (HPAS, ""): listed(hpa(conditions=ACTIVE))}
    parsed = json.loads(json.dumps(report_json(explain(Cluster(answers), ExplainQuery("tube-orders", "shop")))))
    assert parsed["metrics"][0]["total"] == "4"
    assert parsed["metrics"][0]["explanation"] == explanation()
    (autoscaler,) = parsed["autoscalers"]
    assert autoscaler["metrics"][0] | {"name": ""} == {
        "source": "External",
        "name": "",
        "selector": "",
        "target": {"type": "AverageValue", "amount": "2"},
        "total": "4",
        "missing": None,
    }
    assert [step["stage"] for step in autoscaler["decision"]["steps"]] == ["formula", "limits"]
    assert (autoscaler["decision"]["pods"], autoscaler["decision"]["decidedBy"]["stage"]) == (2, "formula")
    assert [parsed["type"] for parsed in autoscaler["conditions"]] == ["AbleToScale", "ScalingActive", "ScalingLimited"]


NOW_S = datetime(2026, 10, 12, 8, 0, 12, tzinfo=UTC).timestamp()
DISABLED = [condition("AbleToScale", "SucceededGetScale"), condition("ScalingActive", "ScalingDisabled", "False", "no")]


def shown(
    one: Json,
    events: Json | int | None = None,
    *,
    enabled: bool | None = True,
    pods: int = 1,
    ready: int = 19,
    failures: Sequence[Json] = (),
    held_for_s: float | None = None,
) -> tuple[str, Json]:
    """Return the text from the autoscaler's line on, and the autoscaler's JSON."""
    known = {} if enabled is None else {"scaling": {"enabled": enabled, "failures": failures}}
    answers = {
        (ORDERS, ""): explanation(
            tubes=[tube(ready=ready)], items=[item(str(ready + 1), f"{ready} + 1", heldForSeconds=held_for_s)], **known
        ),
        (HPAS, ""): listed(one),
        (DEPLOYMENT, ""): deployment(pods, pods, pods),
        (EVENTS, ""): {"items": []} if events is None else events,
    }
    report = make_report(collect(Cluster(answers), ExplainQuery("tube-orders", "shop")), NOW_S)
    text = "\n".join(render(report)).partition("Autoscaler ")[2]
    (found,) = json.loads(json.dumps(report_json(report)))["autoscalers"]
    return text, found


def test_the_text_shows_what_beanscale_does_and_what_it_reported() -> None:
    annotated = hpa(conditions=ACTIVE, maximum=4, annotations={"immediate": "true", "scale-to-zero": "5m"})
    events = [
        event("Scaled", "Scaled Deployment/orders from 0 to 1: tube-orders is 2", created="2026-10-12T08:00:00Z"),
        event("SuccessfulRescale", "New size: 1", "horizontal-pod-autoscaler", created="2026-10-12T07:58:02Z")
        | {"count": 3},
    ]
    text, found = shown(annotated, {"items": events})
    assert (
        text
        == """\
shop/orders of Deployment/orders: 1 pod now → 4
  formula         tube-orders is 20, target 2 per pod: 20 ÷ 2 = 10 → 10 pods
  limits          maxReplicas is 4
  Decided by      limits: 4 pods; beanscale scales to 4 as soon as the policies allow it; the HPA
                  controller at its next sync
  Annotations     beanscale scales up within a second; scales to 0 after 5 min without jobs, and
                  from 0 once a job is ready
  AbleToScale     it can scale now
  ScalingActive   it has a metric value
  ScalingLimited  within minReplicas and maxReplicas
  Events, newest first
  12 s ago        Scaled (beanscale): Scaled Deployment/orders from 0 to 1: tube-orders is 2
  2 min 10 s ago  SuccessfulRescale (horizontal-pod-autoscaler, 3 times): New size: 1
"""
    )
    assert found["decision"]["when"] == (
        "beanscale scales to 4 as soon as the policies allow it; the HPA controller at its next sync"
    )
    assert found["scaling"] == {
        "enabled": True,
        "immediate": True,
        "scaleToZeroSeconds": 300,
        "activation": "0",
        "paused": False,
        "sentence": "beanscale scales up within a second; scales to 0 after 5 min without jobs, and from 0 once a job"
        " is ready",
        "obstacles": [],
    }
    assert found["events"][1] == {
        "time": "2026-10-12T07:58:02Z",
        "type": "Normal",
        "reason": "SuccessfulRescale",
        "message": "New size: 1",
        "component": "horizontal-pod-autoscaler",
        "count": 3,
    }
    assert found["eventsError"] is None


@pytest.mark.parametrize(
    ("one", "enabled", "when"),
    [
        pytest.param(
            hpa(annotations={"immediate": "true"}, maximum=4),
            True,
            "beanscale scales to 4 within a second; the HPA controller at its next sync",
            id="scaled up",
        ),
        pytest.param(hpa(annotations={"immediate": "true"}), None, "at the next sync", id="by an unknown server"),
        pytest.param(hpa(), True, "at the next sync", id="not annotated"),
        pytest.param(hpa(annotations={"immediate": "true", "paused": "true"}), True, "at the next sync", id="paused"),
        pytest.param(
            hpa(annotations={"immediate": "true"}),
            True,
            "beanscale scales to 4 as soon as the policies allow it; the HPA controller at its next sync",
            id="limited",
        ),
        pytest.param(hpa(current=1, minimum=2, annotations={"immediate": "true"}), True, "next sync", id="minReplicas"),
        pytest.param(hpa(maximum=1, annotations={"immediate": "true"}), True, "at the next sync", id="no change"),
    ],
)
def test_what_beanscale_does_before_the_next_sync_is_shown(one: Json, enabled: bool | None, when: str) -> None:
    text, found = shown(one, enabled=enabled)
    assert when in found["decision"]["when"]
    assert when in " ".join(text.split())


@pytest.mark.parametrize(
    ("one", "enabled", "words"),
    [
        pytest.param(
            hpa(annotations={"immediate": "true"}),
            False,
            "scaling.enabled is false on the server, so the annotations have no effect",
            id="disabled",
        ),
        pytest.param(
            hpa(annotations={"immediate": "True"}),
            True,
            "because an annotation is invalid - annotation beanscale/immediate is 'True'; write 'true' or 'false'",
            id="invalid",
        ),
        pytest.param(
            hpa(annotations={"immediate": "true"}, behavior={"scaleUp": {"stabilizationWindowSeconds": 30}}),
            True,
            "beanscale does nothing - behavior.scaleUp.stabilizationWindowSeconds is 30, so the HPA waits",
            id="obstacle",
        ),
    ],
)
def test_what_keeps_beanscale_from_scaling_is_shown(one: Json, enabled: bool, words: str) -> None:
    text, _ = shown(one, enabled=enabled)
    assert words in " ".join(text.split())


def test_what_beanscale_does_not_know_is_no_promise() -> None:
    """A held value, and that of another adapter, count for the HPA only."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    busy = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 100}}}
    last = {"type": "External", "external": {"metric": {"name": "tube-orders"}, "current": {"averageValue": "2"}}}
    by_cpu = hpa(
        external(averageValue="30"), cpu, annotations={"immediate": "true"}, current_metrics=[last, busy], maximum=4
    )
    _, found = shown(by_cpu)
    assert (found["decision"]["pods"], found["decision"]["when"]) == (2, "at the next sync")
    _, found = shown(hpa(annotations={"immediate": "true"}, maximum=4), held_for_s=9)
    assert (found["decision"]["pods"], found["decision"]["when"]) == (4, "at the next sync")
    assert found["scaling"]["obstacles"][0]["sentence"].startswith(
        "the value of tube-orders is held by onFailure; it is"
    )


def test_a_change_that_failed_is_shown_and_none_is_promised() -> None:
    sentence = "kube-apiserver answered PATCH with 403: no; grant it by a Role"
    failures = [{"autoscaler": name, "reason": "forbidden", "sentence": sentence} for name in ("orders", "other")]
    text, found = shown(hpa(annotations={"immediate": "true"}, maximum=4), failures=failures)
    assert f"- {sentence}" in " ".join(text.split())
    assert found["scaling"]["obstacles"] == [{"reason": "forbidden", "sentence": sentence}]
    assert found["decision"]["when"] == "at the next sync"
    _, found = shown(hpa(annotations={"immediate": "true"}, maximum=4), failures=failures[1:])
    assert found["scaling"]["obstacles"] == []


def test_at_zero_kubernetes_report_comes_first_and_then_what_beanscale_does() -> None:
    resting = hpa(current=0, conditions=DISABLED, annotations={"scale-to-zero": "5m"})
    for ready, when in (
        (0, "0 pods until beanscale scales it up"),
        (19, "0 pods; beanscale scales to 4 within a second"),
    ):
        to_zero = event("Scaled", "Scaled Deployment/orders from 1 to 0", created="2026-10-12T08:00:10Z")
        text, found = shown(resting, {"items": [to_zero]}, pods=0, ready=ready)
        words = " ".join(text.split())
        assert "the HPA reports ScalingDisabled: no; beanscale scales it up once a job is ready" in words
        assert f"Decided by disabled: {when} Annotations" in words
        assert "scale the workload to 1 pod" not in words
        assert [each["fix"] for each in found["conditions"]] == ["", ""]
    text, found = shown(resting, pods=0, enabled=False)
    assert "not this autoscaler scaled the workload to 0" in text
    assert found["conditions"][1]["fix"] == "scale the workload to 1 pod, and the autoscaler takes over"


def test_without_permission_for_events_the_rest_is_shown() -> None:
    text, found = shown(hpa(conditions=ACTIVE), 403)
    sentence = "Its Events can't be read: this account must be allowed to list events in namespace shop."
    assert sentence in " ".join(text.split())
    assert "Decided by" in text
    assert (found["events"], found["eventsError"]) == ([], sentence.rstrip(".").replace("Its", "its"))


@pytest.fixture
def config(tmp_path: Path, listener: Apiserver, cluster: KeyRing) -> Path:
    listener.answers.clear()
    listener.answers[f"{ORDERS}?explain=true"] = Answer(body=json.dumps(explanation()).encode())
    listener.answers[HPAS] = Answer(body=json.dumps(listed(hpa(external(averageValue="2")))).encode())
    return kubeconfig(tmp_path / "config", listener.address, cluster.bundle, token="t")  # noqa: S106


def test_the_command_explains_and_exits_with_0(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tube-orders", "-n", "shop", "--kubeconfig", str(config)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("tube-orders in namespace shop is 4 jobs\n")
    assert "\x1b" not in said.out
    assert not said.err


def test_the_command_writes_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tube-orders", "-n", "shop", "-o", "json", "--kubeconfig", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["namespace"] == "shop"


def test_a_metric_that_cannot_be_queried_is_an_error_on_standard_error(
    config: Path,
    listener: Apiserver,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refusal = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no, bob"}
    listener.answers[f"{ORDERS}?explain=true"] = Answer(403, json.dumps(refusal).encode())
    assert main(["explain", "tube-orders", "-n", "shop", "--kubeconfig", str(config)]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert "no, bob" in said.err
    assert "→ this account must be allowed to get and list tube-orders" in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a/b"], "is not a valid metric name"),
        (["tube-mail/eu"], "define a rule for that tube"),
        (["beanstalkd_tube_jobs", "-l", "tube=mail/eu"], "is not a label selector"),
        ([".."], "is not a valid metric name"),
        (["a%2f"], "is not a valid metric name"),
        (["a", "-l", "=="], "is not a label selector"),
        (["a", "-n", "No"], "isn't a valid name"),
        (["a", "-o", "yaml"], "'yaml' is not one of"),
        ([], "Missing argument 'METRIC'"),
    ],
)
def test_a_usage_error_is_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *arguments]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_the_namespace_is_the_contexts_or_the_pods_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = kubeconfig(tmp_path / "config", "https://k", b"")
    assert own_namespace(config, None) == "default"
    content = json.loads(config.read_text())
    content["contexts"].append({"name": "there", "context": {"cluster": "c", "user": "u", "namespace": "shop"}})
    config.write_text(json.dumps(content))
    assert own_namespace(config, "there") == "shop"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    (tmp_path / "namespace").write_text("beanscale\n")
    assert own_namespace(None, None, tmp_path) == "beanscale"
    assert own_namespace(config, None, tmp_path) == "default"


def test_the_readme_shows_what_explain_prints() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text().partition("-n beanscale\ntube-hello-world")[2]
    name, at_most = "beanscale-hello-world", "the desired replica count is more than the maximum replica count"
    found = hpa(
        external("tube-hello-world", {"matchLabels": {"paused": "false"}}, averageValue="2"),
        current=10,
        behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 10, "periodSeconds": 15}]}},
        conditions=[*ACTIVE[:2], condition("ScalingLimited", "TooManyReplicas", message=at_most)],
        annotations={"immediate": "true"},
    )
    found["metadata"] |= {"name": name, "namespace": "beanscale"}
    found["spec"]["scaleTargetRef"]["name"] = name
    answer = explanation(
        metric="tube-hello-world",
        namespace="beanscale",
        selector="paused=false",
        tubes=[tube("hello-world", ready=47, reserved=10)],
        items=[item("57", "47 + 10")],
        scaling={"enabled": True, "failures": []},
    )
    scaled = event("Scaled", f"Scaled Deployment/{name} from 1 to 10: maxReplicas is 10")
    answers: Json = {
        (f"{METRICS.replace('shop', 'beanscale')}/tube-hello-world", ""): answer,
        (f"{METRICS.replace('shop', 'beanscale')}/tube-hello-world", "paused=false"): answer,
        (HPAS.replace("shop", "beanscale"), ""): listed(found),
        (f"/apis/apps/v1/namespaces/beanscale/deployments/{name}", ""): deployment(10, 10, 10),
        (EVENTS.replace("shop", "beanscale"), ""): {"items": [scaled]},
    }
    query = ExplainQuery("tube-hello-world", "beanscale")
    text = "\n".join(render(make_report(collect(Cluster(answers), query), NOW_S)))
    first, _, rest = readme.partition("\n…\n")
    assert text.startswith(f"tube-hello-world{first.partition('\n')[0]}\n")
    assert text.endswith(f"\n{rest.partition('```')[0]}")
