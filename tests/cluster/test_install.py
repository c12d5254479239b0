"""`helm install` into a namespace that admits restricted pods only."""

import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.commands import eventually, ran, raw, refused, run
from tests.cluster.release import API_SERVICE, TUBE, Release

pytestmark = pytest.mark.timeout(600)

STOOD_STILL = "event loop blocked"
PRIVILEGED = """
apiVersion: v1
kind: Pod
metadata: {name: privileged}
spec: {containers: [{name: any, image: any, securityContext: {privileged: true}}]}
"""


def test_every_pod_is_ready_in_a_restricted_namespace(release: Release) -> None:
    create = ("kubectl", "create", "--namespace", release.namespace, "--filename=-", "--dry-run=server")
    assert 'violates PodSecurity "restricted' in refused(*create, given=PRIVILEGED)
    pods = [pod for part in ("server", "console", "beanstalkd", "hello-world") for pod in release.pods(part)]
    ready = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["ready"] for pod in pods}
    assert list(ready.values()) == [True] * 5, ready


def test_kube_apiserver_verifies_the_server(release: Release) -> None:
    """By the CA that the server put into the APIService, and by the name that kube-apiserver demands."""
    release.wait(API_SERVICE, "condition=Available")
    assert not release.read(API_SERVICE)["spec"].get("insecureSkipTLSVerify")
    assert ask_directly(release, "/readyz").text == "ok"


@pytest.mark.parametrize(
    "change",
    [
        {"op": "replace", "path": "/spec/service/name", "value": "another"},
        {"op": "add", "path": "/spec/insecureSkipTLSVerify", "value": True},
        {"op": "replace", "path": "/spec/versionPriority", "value": 7},
        {"op": "add", "path": "/metadata/annotations/a", "value": "b"},
        {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]},
    ],
    ids=lambda change: change["path"],
)
def test_the_servers_account_may_change_only_ca_bundle(release: Release, change: Mapping[str, Any]) -> None:
    """RBAC alone would allow it to redirect the metrics API of the whole cluster."""
    ca_bundle = release.read(API_SERVICE)["spec"]["caBundle"]
    patch = ("kubectl", "patch", API_SERVICE, f"--as=system:serviceaccount:{release.namespace}:beanscale-server")
    allowed = {"op": "replace", "path": "/spec/caBundle", "value": ca_bundle}
    ran(*patch, "--type=json", f"--patch={json.dumps([allowed])}")
    why = refused(*patch, "--type=json", f"--patch={json.dumps([allowed, change])}", "--dry-run=server")
    assert "may change only spec.caBundle" in why or "insecureSkipTLSVerify" in why


def test_a_value_arrives_through_kube_apiserver(release: Release) -> None:
    with release.waiting_jobs(3):
        eventually(lambda: release.value(f"tube-{TUBE}") == "3", "3 jobs counted")
        (item,) = raw(release.metric_path(f"tube-{TUBE}"))["items"]
        age = datetime.now(UTC) - datetime.fromisoformat(item["timestamp"])
        selector = f"tube={TUBE},state=ready,server=beanstalkd"
        by_state = f"beanstalkd_tube_jobs?labelSelector={selector}"
        eventually(lambda: release.value(by_state) == "3", "the other replica counted them too")
    assert age.total_seconds() < 15
    eventually(lambda: release.value(f"tube-{TUBE}") == "0", "no job counted")


@pytest.fixture
def reader(release: Release) -> Iterator[str]:
    """An account that is bound to the chart's role in one namespace."""
    release.kubectl("create", "serviceaccount", "reader")
    role, account = f"{release.namespace}:beanscale:metrics-reader", f"{release.namespace}:reader"
    release.kubectl("create", "rolebinding", "reader", f"--clusterrole={role}", f"--serviceaccount={account}")
    yield "reader"
    release.kubectl("delete", "rolebinding/reader", "serviceaccount/reader")


def test_kubernetes_decides_access(release: Release, reader: str) -> None:
    path = release.metric_path("tube-any")
    for namespace, account in ((release.namespace, reader), ("kube-system", "horizontal-pod-autoscaler")):
        may = token(namespace, account)
        # A right that was given just now counts when kube-apiserver's own view has it, and a "no" for ten seconds more.
        eventually(lambda: ask_directly(release, path, may).status_code == 200, account)  # noqa: B023 - awaited
    other = ask_directly(release, path, token(release.namespace, "default")).json()
    assert (other["code"], other["reason"]) == (403, "Forbidden")
    assert ask_directly(release, path, "made up").status_code == 401


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("list horizontalpodautoscalers --all-namespaces", "yes"),
        ("get deployments/any --subresource=scale --namespace=kube-system", "yes"),
        ("get deployments/any", "no"),
        ("get beanstalkd_tube_jobs.external.metrics.k8s.io --namespace=default", "yes"),
        ("get secrets/beanscale-console", "yes"),
        ("patch secrets/beanscale-console", "yes"),
        ("get secrets/beanscale-serving-cert", "no"),
        ("list secrets", "no"),
        ("create secrets", "no"),
        ("patch horizontalpodautoscalers", "no"),
        ("patch deployments --subresource=scale", "no"),
        ("list deployments", "no"),
        ("get pods", "no"),
    ],
)
def test_the_console_can_read_what_it_shows_and_write_its_password(
    release: Release, question: str, answer: str
) -> None:
    account = f"system:serviceaccount:{release.namespace}:beanscale-console"
    asked = ("kubectl", f"--namespace={release.namespace}", f"--as={account}", "auth", "can-i", *question.split())
    assert run(*asked).stdout.strip() == answer


def test_the_server_has_all_permissions_that_it_requires(release: Release) -> None:
    """No log complains, but of a beanstalkd that starts more slowly, also to who asks meanwhile, of whom a test before
    had refused, and of pauses of the whole machine.
    """
    events = [event for pod in release.pods("server") for event in release.logs(pod["metadata"]["name"])]
    complaints = [event for event in events if event["level"] in {"warning", "error"} and not asked_too_early(event)]
    known = {"beanstalkd can't be read", "request refused", STOOD_STILL}
    assert {event["event"] for event in complaints} <= known, complaints
    assert [event["event"] for event in events].count("serving certificate stored") == 1


def asked_too_early(event: Mapping[str, Any]) -> bool:
    """By the autoscaler, which looks whenever it likes."""
    return event["event"] == "request failed" and "no usable reading" in event["reason"]


def test_kube_apiserver_logs_no_error_about_beanscale(release: Release, pki: Path) -> None:
    """At each change of the APIService it reads discovery again; if something is missing, it logs that forever."""
    log = pki.parent / "log" / "kube-apiserver.log"
    length = log.stat().st_size
    release.kubectl("annotate", API_SERVICE, "beanscale-test=changed", "--overwrite")
    time.sleep(3)  # it reads at once and again after a second; where all is well it says nothing
    lines = log.read_bytes()[length:].decode().splitlines()
    fine = re.compile(r"Adding GroupVersion|Trace\[")  # a trace reports any slow request
    assert [line for line in lines if "external.metrics" in line and not fine.search(line)] == []


def ask_directly(release: Release, path: str, token: str = "") -> httpx.Response:
    """The server's Service, past kube-apiserver but verified as kube-apiserver does it."""
    tls = ssl.create_default_context(cadata=release.ca_bundle())
    name = f"beanscale-server.{release.namespace}.svc"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(verify=tls, timeout=60, trust_env=False) as client:
        url = f"https://{release.address('server')}{path}"
        return client.get(url, headers=headers, extensions={"sni_hostname": name})


def token(namespace: str, account: str) -> str:
    return ran("kubectl", "create", "token", account, "--namespace", namespace).strip()
