"""A real Prometheus with the configuration that Prometheus Operator would generate from the ServiceMonitor."""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from app.kube.client import Kubernetes
from tests.chart.conftest import Manifest
from tests.kubernetes.conftest import free_port

# What the operator makes of a ServiceMonitor's fields; anything else would go unread here.
FIELDS = {"scheme": "scheme", "path": "metrics_path", "interval": "scrape_interval", "scrapeTimeout": "scrape_timeout"}
TRANSLATED = {*FIELDS, "port", "bearerTokenFile", "authorization", "tlsConfig"}


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    port: int

    def ask(self, path: str, **parameters: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}", timeout=5) as answer:
            return json.load(answer)["data"]

    def is_ready(self) -> bool:
        """It listens before it has read what it stored, and answers 503 until then."""
        try:
            return bool(self.ask("status/runtimeinfo"))
        except HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                return False
            raise
        except URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                return False
            raise

    def query(self, expression: str) -> list[Any]:
        """The samples of an instant vector."""
        return list(self.ask("query", query=expression)["result"])

    def complaints(self) -> dict[str, str]:
        """Each scrape's last error by its name; empty where it went well, absent where none was yet."""
        targets = self.ask("targets")["activeTargets"]
        return {each["scrapePool"]: each["lastError"] for each in targets if each["health"] != "unknown"}


@contextmanager
def prometheus(program: str, folder: Path, scrapes: Sequence[Manifest], rules: Manifest) -> Iterator[Prometheus]:
    """Read every second, and the rules reckoned as often."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": list(scrapes)}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    running = Prometheus(free_port())
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{running.port}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            until(lambda: process.poll() is not None or running.is_ready())
            assert process.poll() is None, (folder / "log").read_text()
            yield running
        finally:
            process.terminate()
            process.wait(20)


def scrape(monitor: Manifest, kubernetes: Kubernetes, token: Path, folder: Path) -> Manifest:
    """The scrape configuration for a ServiceMonitor's one endpoint. `token`: what is mounted in Prometheus' pod."""
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() <= TRANSLATED
    return {
        "job_name": monitor["metadata"]["name"],
        **{theirs: endpoint[ours] for ours, theirs in FIELDS.items() if ours in endpoint},
        **credentials(monitor, kubernetes, token),
        "tls_config": {
            "server_name": endpoint["tlsConfig"]["serverName"],
            "ca_file": str(ca_file(monitor, kubernetes, folder)),
        },
        "static_configs": list(targets(monitor, kubernetes)),
    }


def credentials(monitor: Manifest, kubernetes: Kubernetes, token: Path) -> Manifest:
    """How Prometheus authenticates: with its own token, or with one from a Secret."""
    (endpoint,) = monitor["spec"]["endpoints"]
    if "authorization" not in endpoint:
        assert endpoint["bearerTokenFile"] == "/var/run/secrets/kubernetes.io/serviceaccount/token"
        return {"bearer_token_file": str(token)}
    key = endpoint["authorization"]["credentials"]
    secrets = f"/api/v1/namespaces/{monitor['metadata']['namespace']}/secrets"
    secret = kubernetes.request("GET", f"{secrets}/{key['name']}")
    return {"authorization": {"credentials": base64.b64decode(secret["data"][key["key"]]).decode()}}


def ca_file(monitor: Manifest, kubernetes: Kubernetes, folder: Path) -> Path:
    namespace = monitor["metadata"]["namespace"]
    key = monitor["spec"]["endpoints"][0]["tlsConfig"]["ca"]["configMap"]
    config_map = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{key['name']}")
    path = folder / f"{namespace}_{key['name']}_{key['key']}"
    path.write_text(config_map["data"][key["key"]])
    return path


def targets(monitor: Manifest, kubernetes: Kubernetes) -> Iterator[Manifest]:
    """The endpoints of the selected Services, as static targets: Debian's Prometheus has no Kubernetes discovery."""
    namespace = monitor["metadata"]["namespace"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    for service in kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/services")["items"]:
        if wanted <= service["metadata"]["labels"].items():
            for each in slices_of(service["metadata"]["name"], namespace, kubernetes):
                yield from targets_of(each, monitor["spec"]["endpoints"][0]["port"])


def slices_of(service: str, namespace: str, kubernetes: Kubernetes) -> list[Manifest]:
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    query = {"labelSelector": f"kubernetes.io/service-name={service}"}
    return list(kubernetes.request("GET", slices, query=query)["items"])


def targets_of(endpoints: Manifest, port_name: str) -> Iterator[Manifest]:
    """With the labels that the operator has them labelled by."""
    ports = [port["port"] for port in endpoints["ports"] or () if port["name"] == port_name]
    for each in endpoints["endpoints"] or ():
        labels = {
            "pod": each["targetRef"]["name"],
            "namespace": endpoints["metadata"]["namespace"],
            "job": endpoints["metadata"]["labels"]["kubernetes.io/service-name"],
        }
        yield {"targets": [f"{each['addresses'][0]}:{port}" for port in ports], "labels": labels}


def until(holds: Callable[[], Any], why_not: Callable[[], object] = lambda: "it never came to be") -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, why_not()
        time.sleep(0.1)
