"""kubectl's output, and that no component of the cluster logs an error."""

import json
import re
import time
from pathlib import Path

import pytest
import yaml

from tests.cluster.commands import eventually, raw, run
from tests.cluster.release import API_SERVICE, GROUP_VERSION, TUBE, Release

pytestmark = pytest.mark.timeout(600)

GROUP = "external.metrics.k8s.io"
API_RESOURCES = ("api-resources", "--api-group", GROUP)
ABOUT_US = re.compile(r"external.metrics|openapi|discovery", re.IGNORECASE)


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else kubectl remembers for hours what it has found."""
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))


def said(*command: str) -> str:
    """What kubectl prints, with nothing to warn of."""
    done = run("kubectl", *command)
    assert (done.returncode, done.stderr) == (0, ""), f"kubectl {' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def resources() -> set[str]:
    return set(run("kubectl", *API_RESOURCES, "--output=name").stdout.split())


@pytest.fixture(autouse=True)
def discovered(release: Release) -> None:
    """kube-apiserver asks again each minute, and learns of a tube then."""
    release.wait(API_SERVICE, "condition=Available")
    eventually(lambda: f"tube-{TUBE}.{GROUP}" in resources(), "the tube among the resources", within_s=180)


def test_the_metrics_are_resources() -> None:
    heading, *lines = [line.split() for line in said(*API_RESOURCES).splitlines()]
    assert heading == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    kinds = {line[0]: line[3] for line in lines}
    assert {"beanstalkd_tube_jobs", "tube-default", f"tube-{TUBE}"} <= set(kinds)
    assert {tuple(line[1:3]) for line in lines} == {(f"{GROUP}/v1beta1", "true")}
    assert len(set(kinds.values())) == len(kinds), "kubectl finds a resource again by its kind"


def test_all_resources_are_listed_without_a_warning() -> None:
    """A group without resources would bring "Got empty response", one that doesn't answer an exit status of 1."""
    assert re.search(rf"^tube-default +{GROUP}/v1beta1 +true ", said("api-resources"), re.MULTILINE)
    assert f"{GROUP}/v1beta1" in said("api-versions").split()


def test_a_metric_is_printed_as_a_table(release: Release) -> None:
    with release.waiting_jobs(3):

        def is_printed() -> bool:
            """By whichever replica: the other may have counted the jobs a moment later."""
            heading, row = said("get", f"tube-{TUBE}", f"--namespace={release.namespace}").splitlines()
            assert heading.split() == ["TUBE", "VALUE", "AGE", "SERVER"]
            assert re.fullmatch(rf"{TUBE} +3 +\d\.\ds +beanstalkd", row.strip()), row
            return True

        eventually(is_printed, "3 jobs counted")


def test_wide_output_shows_the_servers_and_tubes(release: Release) -> None:
    heading, row = said("get", "tube-default", "--output=wide", f"--namespace={release.namespace}").splitlines()
    assert re.split("  +", heading) == ["TUBE", "VALUE", "AGE", "SERVER", "METRIC", "READ AT", "ADDRESS"]
    assert re.search(r"  tube-default  +\d{4}-\d\d-\d\dT[\d:]+Z  +[-a-z.]+:11300$", row), row


def test_jobs_are_printed_by_state_and_labels(release: Release) -> None:
    where = f"--namespace={release.namespace}"
    heading, *rows = said("get", "beanstalkd_tube_jobs", "--selector=tube=default", "--show-labels", where).splitlines()
    assert heading.split() == ["TUBE", "STATE", "VALUE", "AGE", "SERVER", "LABELS"]
    assert {row.split()[1] for row in rows} == {"ready", "reserved", "delayed", "buried"}
    assert all("server=beanstalkd" in row.split()[-1] for row in rows)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_metric_is_printed_as_an_object(release: Release, form: str) -> None:
    printed = said("get", "tube-default", f"--output={form}", f"--namespace={release.namespace}")
    (item,) = yaml.safe_load(printed)["items"]  # JSON is YAML
    assert (item["kind"], item["metricName"], item["value"]) == ("ExternalMetricValue", "tube-default", "0")


def test_a_raw_response_is_that_of_the_autoscaler(release: Release) -> None:
    answer = json.loads(said("get", "--raw", release.metric_path("tube-default")))
    assert (answer["kind"], answer["items"][0]["value"]) == ("ExternalMetricValueList", "0")
    assert json.loads(said("get", "--raw", GROUP_VERSION))["kind"] == "APIResourceList"


def test_the_explain_subresource_is_served() -> None:
    explained = said("explain", "tube-default")
    assert re.search(rf"^GROUP: +{GROUP}$", explained, re.MULTILINE)
    assert re.search(r"^KIND: +ExternalMetricValueList$", explained, re.MULTILINE)
    value = said("explain", "tube-default.items")
    for field in ("metricLabels", "metricName", "timestamp", "value", "window"):
        assert re.search(rf"^  {field}\t", value, re.MULTILINE), value
    assert "when beanstalkd answered" in " ".join(value.split())


def test_kube_apiserver_has_merged_beanscales_openapi() -> None:
    """v2 without a second version of any definition; v3 as a document of its own."""
    definitions = raw("/openapi/v2")["definitions"].keys()
    assert [name for name in definitions if re.search(r"_v\d+$", name)] == []
    assert {
        name.rpartition(".")[2] for name in definitions if name.startswith("beanscale.external_metrics.v1beta1.")
    } == {
        "ExternalMetricValue",
        "ExternalMetricValueList",
        "ListMeta",
        "Quantity",
        "Time",
    }
    paths = raw("/openapi/v3")["paths"]
    assert {f"apis/{GROUP}", f"apis/{GROUP}/v1beta1", "version", "apis"} <= set(paths)
    assert raw("/openapi/v3/version")["info"]["title"] == "Kubernetes"
    assert raw(paths[f"apis/{GROUP}/v1beta1"]["serverRelativeURL"])["info"]["title"] == "beanscale"


def test_no_component_logs_an_error(release: Release, pki: Path) -> None:
    """Each of them reads discovery at a change of the APIService and periodically."""
    logs = {name: pki.parent / "log" / f"{name}.log" for name in ("kube-apiserver", "kube-controller-manager")}
    lengths = {name: log.stat().st_size for name, log in logs.items()}
    release.kubectl("annotate", API_SERVICE, "beanscale-test=read-again", "--overwrite")
    time.sleep(35)  # the controllers that follow discovery ask each half minute, kube-apiserver each minute
    for name, log in logs.items():
        lines = log.read_bytes()[lengths[name] :].decode().splitlines()
        complaints = [line for line in lines if line[:1] in {"W", "E"} and ABOUT_US.search(line)]
        assert complaints == [], name
