"""How the chain is walked, and what its documents from Kubernetes mean."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from app.kube.checks import CheckFailedError, check_available
from app.settings import ObjectName, SettingError
from app.smoke.hpa_status import check_status
from app.smoke.metrics_api import check_spec
from app.smoke.steps import Result, Retrier, SmokeCheck, Stop, check_tube_prefix, run_checks

SERVICE = ObjectName("beanscale", "beanscale-server")
HPA = ObjectName("beanscale", "hello")


def breaks() -> str:
    raise CheckFailedError("it is torn", "mend it")


def names_and_results(*checks: SmokeCheck) -> list[tuple[str, Result]]:
    return [(outcome.name, outcome.result) for outcome in run_checks(checks, lambda _: None)]


def test_steps_after_a_failed_one_are_skipped_but_cleanup_is_done() -> None:
    chain = (
        SmokeCheck("first", lambda: "fine"),
        SmokeCheck("second", breaks),
        SmokeCheck("third", lambda: "never looked at"),
        SmokeCheck("cleaning", lambda: "done", always=lambda: True),
        SmokeCheck("last", lambda: "never looked at"),
    )
    assert names_and_results(*chain) == [
        ("first", Result.PASSED),
        ("second", Result.FAILED),
        ("third", Result.SKIPPED),
        ("cleaning", Result.PASSED),
        ("last", Result.SKIPPED),
    ]


def test_a_failed_step_has_its_reason_and_hint() -> None:
    (outcome,) = run_checks([SmokeCheck("only", breaks)], lambda _: None)
    assert (outcome.message, outcome.hint) == ("it is torn", "mend it")


def holds_after(looks: int) -> Callable[[], str]:
    seen: list[None] = []

    def look() -> str:
        seen.append(None)
        return "fine" if len(seen) > looks else breaks()

    return look


def test_a_condition_met_in_time_passes() -> None:
    assert Retrier(60, Stop()).wait(holds_after(1)) == "fine"


def test_a_condition_not_met_in_time_has_the_last_reason_and_the_duration() -> None:
    with pytest.raises(CheckFailedError, match=r"it is torn \(waited 0\.1 s\)"):
        Retrier(0.1, Stop()).wait(breaks)


def test_a_permanent_failure_is_not_retried() -> None:
    def hopeless() -> str:
        raise CheckFailedError("forbidden", "ask for it", final=True)

    begun = time.monotonic()
    with pytest.raises(CheckFailedError, match=r"^forbidden$"):
        Retrier(60, Stop()).wait(hopeless)
    assert time.monotonic() - begun < 30


def test_after_a_stop_nothing_is_retried() -> None:
    stop = Stop()
    stop.requested = True
    with pytest.raises(CheckFailedError, match="stopped"):
        Retrier(60, stop).wait(breaks)


def test_a_stop_while_waiting_keeps_the_reason() -> None:
    stop = Stop()

    def breaks_at_the_signal() -> str:
        stop(signal.SIGTERM, None)
        return breaks()

    with pytest.raises(CheckFailedError, match=r"it is torn \(stopped while waiting\)"):
        Retrier(60, stop).wait(breaks_at_the_signal)


def apiservice(conditions: list[dict[str, str]] | None = None, **spec: object) -> dict[str, object]:
    ours = {"namespace": "beanscale", "name": "beanscale-server", "port": 443}
    return {
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {"service": ours, "caBundle": "LS0t", "group": "external.metrics.k8s.io", **spec},
        "status": {"conditions": conditions or []},
    }


def test_a_verified_apiservice_of_beanscale_passes() -> None:
    check_spec(apiservice(), SERVICE)


@pytest.mark.parametrize(
    ("spec", "why", "fix"),
    [
        (
            {"service": {"namespace": "keda", "name": "keda-metrics"}},
            "points to keda/keda-metrics, not to",
            "uninstall it",
        ),
        ({"service": None}, "points to kube-apiserver itself", "helm list -A"),
        ({"insecureSkipTLSVerify": True}, "doesn't verify the server", 'insecureSkipTLSVerify":null'),
        ({"caBundle": None}, "no caBundle", "logs deployment/beanscale-server"),
    ],
)
def test_an_unexpected_apiservice_is_named_with_the_fix(spec: dict[str, object], why: str, fix: str) -> None:
    with pytest.raises(CheckFailedError, match=why) as broken:
        check_spec(apiservice(**spec), SERVICE)
    assert fix in broken.value.hint


def test_an_apiservice_is_available_if_its_condition_is_true() -> None:
    check_available(apiservice([{"type": "Available", "status": "True", "reason": "Passed"}]), SERVICE)


def test_an_unavailable_apiservice_has_the_message_of_its_condition() -> None:
    condition = {
        "type": "Available",
        "status": "False",
        "reason": "MissingEndpoints",
        "message": 'endpoints for service/beanscale-server in "beanscale" have no addresses with port name "https"',
    }
    with pytest.raises(CheckFailedError, match="have no addresses") as broken:
        check_available(apiservice([condition]), SERVICE)
    assert broken.value.hint == "no pod of the server is ready: kubectl -n beanscale get pod"


def test_an_apiservice_without_conditions_is_not_available() -> None:
    with pytest.raises(CheckFailedError, match="has not checked it yet"):
        check_available(apiservice(), SERVICE)


SCALES = [
    {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"},
    {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"},
]


def autoscaler(
    conditions: list[dict[str, str]], current: dict[str, str] | None, replicas: int = 1, minimum: int = 1
) -> dict[str, Any]:
    metric = {"name": "tube-hello-world"}
    target = {"value": "2"} if current and "value" in current else {"averageValue": "2"}
    return {
        "metadata": {"namespace": HPA.namespace, "name": HPA.name},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "hello"},
            "minReplicas": minimum,
            "maxReplicas": 10,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
        },
        "status": {
            "currentReplicas": replicas,
            "conditions": conditions,
            "currentMetrics": [{"type": "External", "external": {"metric": metric, "current": current}}]
            if current
            else [{"type": ""}],
        },
    }


def test_an_active_autoscaler_has_its_value() -> None:
    said = check_status(autoscaler(SCALES, {"averageValue": "500m"}, replicas=2), HPA)
    assert said == "beanscale/hello is active: tube-hello-world is 500m per pod; 2 replicas"


def test_a_value_target_shows_the_value() -> None:
    assert "tube-hello-world is 7;" in check_status(autoscaler(SCALES, {"value": "7"}), HPA)


@pytest.mark.parametrize(
    ("reason", "message", "fix"),
    [
        ("FailedGetExternalMetric", "the HPA was unable to compute: forbidden", "metrics-reader"),
        (
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
            "scale the workload to 1",
        ),
        ("SomethingNew", "in words of the future", "kubectl -n beanscale describe hpa hello"),
    ],
)
def test_an_inactive_autoscaler_is_explained_by_its_condition(reason: str, message: str, fix: str) -> None:
    inactive = {"type": "ScalingActive", "status": "False", "reason": reason, "message": message}
    with pytest.raises(CheckFailedError, match=message) as broken:
        check_status(autoscaler([SCALES[0], inactive], None), HPA)
    assert fix in broken.value.hint


def test_an_autoscaler_without_workload_is_reported() -> None:
    missing = {"type": "AbleToScale", "status": "False", "reason": "FailedGetScale", "message": "deployments not found"}
    with pytest.raises(CheckFailedError, match="deployments not found") as broken:
        check_status(autoscaler([missing], None), HPA)
    assert "scaleTargetRef" in broken.value.hint


def test_an_autoscaler_not_synced_yet_is_retried() -> None:
    with pytest.raises(CheckFailedError, match="hasn't synced it yet") as broken:
        check_status(autoscaler([], None) | {"status": {}}, HPA)
    assert not broken.value.final


@pytest.mark.parametrize("current", [None, {"averageValue": "-9223372036854775808m"}])
def test_an_autoscaler_without_a_meaningful_value_fails_and_the_number_is_not_repeated(
    current: dict[str, str] | None,
) -> None:
    with pytest.raises(CheckFailedError, match="has no value of tube-hello-world yet") as broken:
        check_status(autoscaler(SCALES, current), HPA)
    assert "9223372036854775808" not in f"{broken.value} {broken.value.hint}"


def test_an_autoscaler_at_zero_passes() -> None:
    resting = autoscaler(SCALES, {"averageValue": "-9223372036854775808m"}, replicas=0, minimum=0)
    assert check_status(resting, HPA) == "beanscale/hello is active and at 0 replicas"


def test_an_autoscaler_that_beanscale_scales_up_from_zero_passes() -> None:
    message = "scaling is disabled since the replica count of the target is zero"
    disabled = {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled", "message": message}
    resting = autoscaler([SCALES[0], disabled], None, replicas=0)
    resting["metadata"]["annotations"] = {"beanscale/scale-to-zero": "5m"}
    assert check_status(resting, HPA) == "beanscale/hello is at 0 replicas; beanscale scales it up once a job is ready"


def test_an_autoscaler_without_an_external_metric_fails() -> None:
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    found = autoscaler(SCALES, None)
    found["spec"]["metrics"] = [{"type": "Resource", "resource": cpu}]
    with pytest.raises(CheckFailedError, match="uses no external metric") as broken:
        check_status(found, HPA)
    assert broken.value.final


@pytest.mark.parametrize("prefix", ["", "Upper-", "-x", "a/b", "a_b", "a" * 51, "a\r\n"])
def test_a_prefix_that_is_invalid_in_a_metric_name_is_rejected(prefix: str) -> None:
    with pytest.raises(SettingError, match="--tube-prefix"):
        check_tube_prefix(prefix)


def test_the_default_prefix_is_used() -> None:
    assert check_tube_prefix("beanscale-smoke-") == "beanscale-smoke-"
