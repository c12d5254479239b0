"""Each alert fires when it should and not before, as Prometheus' own promtool reckons it."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import Chart, Manifest
from tests.chart.test_monitoring import ON, alerts

OURS = 'job="beanscale-server",namespace="beanscale"'
POD = f'{OURS},pod="beanscale-server-0"'
EU = f'{POD},server="eu",address="eu.example"'
OTHER_POD = EU.replace("server-0", "server-1")
SERVER = {"server": "eu", "address": "eu.example"}
ONE_POD = {"job": "beanscale-server", "pod": "beanscale-server-0"}
START, END, CA_END = (
    f"beanscale_serving_{each}_timestamp_seconds{{{POD}}}"
    for each in ("certificate_start", "certificate_expiry", "ca_expiry")
)
YEAR_S = 365 * 86400


@dataclass(frozen=True)
class Case:
    """Series by their values, one each 30 seconds; time begins at 0."""

    alert: str
    series: Mapping[str, str]
    fires_at: str | None = None
    """The first moment at which it must; None: never, for three hours."""
    quiet_at: str = "3h"
    """The last moment at which it must not."""
    labels: Mapping[str, str] | None = None
    value: str = ""
    """The value as the description formats it."""


def values(value: float, *then: str) -> str:
    """The same for so long that no test sees its end, or until `then`."""
    return " ".join([f"{value:g}x{2 if then else 500}", *then])


FIRING = [
    Case("BeanscaleDown", {}, "2m", "1m30s", {}),
    Case("BeanscaleDown", {f"up{{{POD}}}": values(1, "0x20")}, "3m30s", "3m", {}),
    Case("BeanscaleDown", {f"up{{{POD.replace('beanscale', 'other')}}}": values(1)}, "2m", "1m30s", {}),
    Case(
        "BeanscaleAPIServiceUnavailable",
        {
            f'aggregator_unavailable_apiservice{{name="v1beta1.external.metrics.k8s.io",instance="{each}"}}': values(
                each
            )
            for each in (0, 1)
        },
        "2m",
        "1m30s",
        {"name": "v1beta1.external.metrics.k8s.io"},
    ),
    Case("BeanscaleBeanstalkdUnread", {f"beanscale_beanstalkd_up{{{EU}}}": values(0)}, "2m", "1m30s", SERVER),
    Case(
        "BeanscaleBeanstalkdUnread",
        {f"beanscale_beanstalkd_up{{{EU}}}": values(1), f"beanscale_beanstalkd_up{{{OTHER_POD}}}": values(0)},
        "2m",
        "1m30s",
        SERVER,
    ),
    Case(
        "BeanscaleJobsBuried",
        {f'beanscale_jobs{{{each},state="buried"}}': values(7) for each in (EU, OTHER_POD)},
        "15m",
        "14m30s",
        SERVER,
        "7",
    ),
    Case(
        "BeanscaleTubesStuck",
        {f"beanscale_tubes_stuck{{{each}}}": values(3) for each in (EU, OTHER_POD)},
        "5m",
        "4m30s",
        SERVER,
        "3",
    ),
    Case(
        "BeanscaleJobsTimedOut",
        {f"beanscale_job_timeouts_total{{{each}}}": "0+60x500" for each in (EU, OTHER_POD)},
        "15m30s",
        "15m",
        SERVER,
        "2",
    ),
    Case(
        "BeanscaleCertificateNotRenewed",
        {START: values(-300000), END: values(100000)},  # a quarter is left at 0
        "15m30s",
        "15m",
        ONE_POD,
        "24.77%",
    ),
    Case(
        "BeanscaleCANotRenewed",
        {START: values(0), END: values(400000), CA_END: values(100000)},
        "15m30s",
        "15m",
        ONE_POD,
        "1d 3h 31m 10s",
    ),
    Case(
        "BeanscaleCertificateNotChecked",
        {f"beanscale_serving_certificate_up{{{POD}}}": values(0)},
        "10m",
        "9m30s",
        ONE_POD,
    ),
    Case(
        "BeanscaleRequestsRejected",
        {
            f"beanscale_requests_rejected_total{{{POD}}}": "0+60x500",
            f"beanscale_requests_rejected_total{{{OURS}}}": "0x500",
        },
        "5m30s",
        "5m",
        {},
        "2",
    ),
    Case(
        "BeanscaleWorkloadsNotScaled",
        {
            f'beanscale_scaler_rejected{{{each},reason="forbidden"}}': values(2)
            for each in (POD, POD.replace("-0", "-1"))
        },
        "15m",
        "14m30s",
        {"reason": "forbidden"},
        "2",
    ),
    Case("BeanscaleAutoscalersUnwatched", {f"beanscale_scaler_watch_up{{{POD}}}": values(0)}, "5m", "4m30s", ONE_POD),
    Case(
        "BeanscaleClockOff", {f"beanscale_clock_ahead_seconds{{{POD}}}": values(61)}, "10m", "9m30s", ONE_POD, "1m 1s"
    ),
    Case(
        "BeanscaleClockOff", {f"beanscale_clock_ahead_seconds{{{POD}}}": values(-90)}, "10m", "9m30s", ONE_POD, "1m 30s"
    ),
]
QUIET = [
    pytest.param(
        Case("BeanscaleDown", {f"up{{{POD}}}": values(1), f"up{{{OTHER_POD}}}": values(0)}),
        id="one of two pods answers",
    ),
    pytest.param(Case("BeanscaleDown", {f"up{{{POD}}}": values(1, "0x3", "1x500")}), id="a minute without a pod"),
    pytest.param(
        Case("BeanscaleAPIServiceUnavailable", {'aggregator_unavailable_apiservice{name="v1.other"}': values(1)}),
        id="another API",
    ),
    pytest.param(
        Case("BeanscaleBeanstalkdUnread", {f"beanscale_beanstalkd_up{{{EU}}}": values(1, "0x3", "1x500")}),
        id="a restart of beanstalkd",
    ),
    pytest.param(
        Case(
            "BeanscaleBeanstalkdUnread", {f"beanscale_beanstalkd_up{{{EU}}}".replace("beanscale-", "other-"): "0x500"}
        ),
        id="another release's beanstalkd",
    ),
    pytest.param(
        Case(
            "BeanscaleJobsBuried",
            {
                f'beanscale_jobs{{{EU},state="{state}"}}': values(count)
                for state, count in (("ready", 9), ("buried", 0))
            },
        ),
        id="jobs that aren't buried",
    ),
    pytest.param(
        Case("BeanscaleJobsBuried", {f'beanscale_jobs{{{EU},state="buried"}}': values(7, "stale")}),
        id="a beanstalkd that isn't read any more",
    ),
    pytest.param(
        Case("BeanscaleTubesStuck", {f"beanscale_tubes_stuck{{{EU}}}": values(1, "0x5", "1x6", "0x500")}),
        id="workers that go on after three minutes",
    ),
    pytest.param(
        Case("BeanscaleJobsTimedOut", {f"beanscale_job_timeouts_total{{{EU}}}": "7x10 8x500"}),
        id="one job that timed out",
    ),
    pytest.param(
        Case("BeanscaleCertificateNotRenewed", {START: values(-YEAR_S * 2), END: values(YEAR_S)}),
        id="one that is just due",
    ),
    pytest.param(
        Case(
            "BeanscaleCertificateNotRenewed",
            {START: values(-300000, "0x500"), END: values(100000, "400000x500")},
        ),
        id="one that is renewed late",
    ),
    pytest.param(
        Case("BeanscaleCANotRenewed", {START: values(-YEAR_S), END: values(YEAR_S), CA_END: values(YEAR_S)}),
        id="a certificate that is its own CA",
    ),
    pytest.param(Case("BeanscaleCANotRenewed", {START: values(0), END: values(9)}), id="an unknown CA"),
    pytest.param(
        Case(
            "BeanscaleCertificateNotChecked", {f"beanscale_serving_certificate_up{{{POD}}}": values(1, "0x10", "1x500")}
        ),
        id="five minutes without kube-apiserver",
    ),
    pytest.param(
        Case("BeanscaleRequestsRejected", {f"beanscale_requests_rejected_total{{{POD}}}": "0x20 500x500"}),
        id="one rush",
    ),
    pytest.param(
        Case(
            "BeanscaleWorkloadsNotScaled",
            {
                f'beanscale_scaler_rejected{{{POD},reason="no_value"}}': values(1),
                f'beanscale_scaler_rejected{{{POD},reason="forbidden"}}': values(1, "1x10", "0x500"),
            },
        ),
        id="a metric without a value, and a Role that is created within minutes",
    ),
    pytest.param(
        Case("BeanscaleAutoscalersUnwatched", {f"beanscale_scaler_watch_up{{{POD}}}": values(1, "0x5", "1x500")}),
        id="minutes without kube-apiserver",
    ),
    pytest.param(Case("BeanscaleClockOff", {f"beanscale_clock_ahead_seconds{{{POD}}}": values(-60)}), id="a minute"),
]


@pytest.fixture(scope="module")
def rules(chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered rule groups, as Prometheus Operator hands them on."""
    (rule,) = chart.render(ON).of("PrometheusRule")
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    return path


Promtool = Callable[..., str]


@pytest.fixture(scope="module")
def promtool(require: Callable[[str], str]) -> Promtool:
    """Runs it, and gives what it says; fails where it finds a fault."""
    program = require("promtool")

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_prometheus_accepts_the_rules(promtool: Promtool, rules: Path) -> None:
    assert "13 rules found" in promtool("check", "rules", str(rules))


@pytest.mark.parametrize("case", FIRING, ids=lambda case: case.alert)
def test_an_alert_fires_with_its_object_and_cause(promtool: Promtool, rules: Path, case: Case, tmp_path: Path) -> None:
    promtool("test", "rules", str(written(case, rules, tmp_path)))


@pytest.mark.parametrize("case", QUIET)
def test_an_alert_stays_silent_in_a_healthy_cluster(
    promtool: Promtool, rules: Path, case: Case, tmp_path: Path
) -> None:
    promtool("test", "rules", str(written(case, rules, tmp_path)))


def test_every_alert_has_a_test_that_it_fires_and_that_it_stays_silent(chart: Chart) -> None:
    every = alerts(chart.render(ON)).keys()
    assert {case.alert for case in FIRING} == every
    assert {param.values[0].alert for param in QUIET} == every  # type: ignore[attr-defined]


def test_an_alert_states_the_problem_the_object_and_the_fix(chart: Chart) -> None:
    for rule in alerts(chart.render(ON)).values():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["annotations"]["summary"].endswith(".")
        description = rule["annotations"]["description"]
        assert "{{ $labels." in description or "beanscale/beanscale-server" in description
        assert any(word in description for word in ("kubectl", "console", "Fix it", "server.logging.audit"))


def test_the_threshold_of_buried_jobs_is_a_value(chart: Chart) -> None:
    values = {"prometheusRule": {"enabled": True, "buriedJobs": 1000000}}
    assert alerts(chart.render(values))["BeanscaleJobsBuried"]["expr"].endswith('state="buried"}) > 1000000')


def written(case: Case, rules: Path, folder: Path) -> Path:
    """A test file of promtool's: the alert is quiet, and then it fires as it should."""
    (rule,) = (each for each in yaml.safe_load(rules.read_text())["groups"][0]["rules"] if each["alert"] == case.alert)
    looks: list[Any] = [{"eval_time": case.quiet_at, "alertname": case.alert, "exp_alerts": []}]
    if case.fires_at:
        looks.append({"eval_time": case.fires_at, "alertname": case.alert, "exp_alerts": [expected(case, rule)]})
    else:
        looks = [looks[0] | {"eval_time": f"{minute}m"} for minute in range(181)]
    series = [{"series": name, "values": given} for name, given in case.series.items()]
    path = folder / "test.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(rules)],
                "evaluation_interval": "30s",
                "tests": [{"interval": "30s", "input_series": series, "alert_rule_test": looks}],
            }
        )
    )
    return path


def expected(case: Case, rule: Manifest) -> Manifest:
    labels = case.labels or {}
    known = {f"{{{{ $labels.{name} }}}}": label for name, label in labels.items()}
    annotations = dict(rule["annotations"])
    for name, text in annotations.items():
        for place, label in known.items():
            text = text.replace(place, label)  # noqa: PLW2901
        before, _, rest = text.partition("{{ $value")
        annotations[name] = before + case.value + rest.partition("}}")[2] if rest else text
    return {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": annotations}
