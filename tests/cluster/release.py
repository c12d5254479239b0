"""A release of the chart in the cluster: what every test knows about it."""

import json
import os
import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import greenstalk
import httpx
import yaml

from tests.cluster.commands import eventually, ran, raw, run

CHART = str(Path(__file__).parents[2] / "chart")
VERSION = str(yaml.safe_load(Path(CHART, "Chart.yaml").read_text())["appVersion"])
"""Tag of both images."""
API_SERVICE = "apiservice/v1beta1.external.metrics.k8s.io"
PATIENCE = "300s"
"""For Helm: pods start slowly on a busy machine."""
GROUP_VERSION = "/apis/external.metrics.k8s.io/v1beta1"
TUBE = "hello-world"

_NAMES = '{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}'

type Values = Mapping[str, Any]


@dataclass(frozen=True)
class Release:
    """One that is called `beanscale`, so that its objects are called beanscale-server and so on."""

    namespace: str
    name: str = "beanscale"
    stored_in: str = ""
    """The namespace of Helm's records if the objects are in another one, by namespaceOverride."""
    program: str = "helm"

    autoscaler = "hpa/beanscale-hello-world"
    workers = "deployment/beanscale-hello-world"
    servers = "deployment/beanscale-server"
    beanstalkds = "statefulset/beanscale-beanstalkd"

    def kubectl(self, *arguments: str, within_s: float = 120) -> str:
        return ran("kubectl", "--namespace", self.namespace, *arguments, within_s=within_s)

    def helm(self, action: str, *arguments: str, within_s: float = 330) -> str:
        return ran(*self.helm_command(action, *arguments), within_s=within_s)

    def helm_command(self, action: str, *arguments: str) -> tuple[str, ...]:
        return (self.program, action, self.name, *arguments, "--namespace", self.stored_in or self.namespace)

    def tested(self) -> tuple[int, str]:
        """Return the exit status of `helm test` and everything that it prints."""
        logs = () if self.stored_in or self.program == "helm3" else ("--logs",)
        done = run(*self.helm_command("test", *logs, "--timeout", PATIENCE), within_s=330)
        return done.returncode, done.stdout + done.stderr

    @property
    def is_installed(self) -> bool:
        return run(*self.helm_command("status")).returncode == 0

    def install(self, values: Values) -> None:
        """Install and wait until all pods are ready."""
        given = yaml.safe_dump(dict(values))
        command = self.helm_command("install", CHART, "--values", "-", "--wait", "--timeout", PATIENCE)
        ran(*command, given=given, within_s=330)

    def upgrade(self, values: Values) -> None:
        """Change these values and wait until all pods are ready."""
        command = self.helm_command(
            "upgrade", CHART, "--reuse-values", "--values", "-", "--wait", "--timeout", PATIENCE
        )
        ran(*command, given=yaml.safe_dump(dict(values)), within_s=330)
        self.wait_for_rollout()

    def wait_for_rollout(self, deployment: str = servers) -> None:
        """Until all its pods are of its last version, and ready."""
        self.kubectl("rollout", "status", deployment, "--timeout=180s", within_s=210)

    def uninstall(self) -> None:
        self.helm("uninstall", "--ignore-not-found", "--wait")

    def read(self, what: str, *selection: str) -> Any:
        """An object, or with a selection a list, as a mapping."""
        return json.loads(self.kubectl("get", what, *selection, "--output", "json"))

    def wait(self, what: str, condition: str, within_s: float = 120) -> None:
        """As `kubectl wait --for=CONDITION` does."""
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={within_s:g}s", within_s=within_s + 60)

    def wait_for_pods_wanted(self, replicas: int, within_s: float = 90) -> None:
        """Until the autoscaler wants that many."""
        self.wait(self.autoscaler, f"jsonpath={{.status.desiredReplicas}}={replicas}", within_s)

    def wait_for_pods_ready(self, replicas: int, within_s: float = 180) -> None:
        """Until exactly that many workers are there, all of them ready."""
        self.wait(self.workers, f"jsonpath={{.status.replicas}}={replicas}", within_s)
        self.wait(self.workers, f"jsonpath={{.status.readyReplicas}}={replicas}", within_s)

    def pods(self, component: str) -> list[Any]:
        """Those that aren't on their way out."""
        found = self.read("pods", f"--selector=app.kubernetes.io/component={component}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def logs(self, pod: str) -> list[Mapping[str, Any]]:
        """The events in a server's log."""
        return [json.loads(line) for line in self.kubectl("logs", pod).splitlines()]

    def metric_path(self, metric: str) -> str:
        return f"{GROUP_VERSION}/namespaces/{self.namespace}/{metric}"

    def names(self) -> set[str]:
        """KIND NAMESPACE/NAME of all objects but other namespaces and theirs, and Events, which stay for an hour."""
        kinds = ran("kubectl", "api-resources", "--verbs=list", "--output=name").split()
        kinds = [kind for kind in kinds if kind.partition(".")[0] not in {"events", "namespaces"}]
        listed = ran("kubectl", "get", ",".join(kinds), "--all-namespaces", f"--output=jsonpath={_NAMES}")
        ours = {"", "kube-system", self.namespace}
        return {name for name in listed.splitlines() if name.split()[1].partition("/")[0] in ours}

    def value(self, metric: str) -> str:
        """The only value of a metric, as kube-apiserver passes it on."""
        items = raw(self.metric_path(metric))["items"]
        assert len(items) == 1, items
        return str(items[0]["value"])

    @property
    def is_available(self) -> bool:
        """What kube-apiserver thinks of the API."""
        conditions = self.read(API_SERVICE)["status"]["conditions"]
        return any((each["type"], each["status"]) == ("Available", "True") for each in conditions)

    def address(self, service: str) -> str:
        """The virtual address of one of our Services."""
        return str(self.read(f"service/{self.name}-{service}")["spec"]["clusterIP"])

    def ca_bundle(self) -> str:
        """By which kube-apiserver verifies the server, as PEM; empty while there is none."""
        return b64decode(self.read(API_SERVICE)["spec"].get("caBundle", "")).decode()

    def secret(self) -> Mapping[str, str]:
        """What the replicas agreed on."""
        return dict(self.read("secret/beanscale-serving-cert").get("data", {}))

    def served_certificates(self) -> list[str]:
        """What each server pod shows, as PEM."""
        addresses = [pod["status"]["podIP"] for pod in self.pods("server")]
        return [ssl.get_server_certificate((address, 10250), timeout=60) for address in addresses]

    def asked_of_pod(self, pod: Any, path: str) -> str:
        """The response of a server's pod to a user with all permissions."""
        keys = os.environ["BEANSCALE_PKI"]
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE  # of one pod only its Service's name is certified
        tls.load_cert_chain(f"{keys}/admin.crt", f"{keys}/admin.key")
        with httpx.Client(verify=tls, timeout=60, trust_env=False) as client:
            return client.get(f"https://{pod['status']['podIP']}:10250{path}").text

    def asked_of_each(self, path: str) -> list[str]:
        """The same of each server's pod."""
        return [self.asked_of_pod(pod, path) for pod in self.pods("server")]

    @contextmanager
    def beanstalkd(self) -> Iterator[greenstalk.Client[bytes]]:
        """A connection that uses the workers' tube."""
        address = (self.address("beanstalkd"), 11300)
        client = eventually(
            lambda: greenstalk.Client(address, encoding=None, use=TUBE), f"a connection to beanstalkd {address}"
        )
        with client:
            yield client

    @contextmanager
    def waiting_jobs(self, number: int) -> Iterator[tuple[greenstalk.Client[bytes], list[int]]]:
        """Put that many jobs into the workers' tube while it is paused; none is left at the end."""
        with self.beanstalkd() as client:
            client.pause_tube(TUBE, 600)
            jobs = [client.put(b"waits", ttr=60, delay=3600) for _ in range(number)]
            client.kick(number)  # all at once, so that no poll counts only some of them
            try:
                yield client, jobs
            finally:
                _empty(client, jobs)
                client.pause_tube(TUBE, 0)


def _empty(client: greenstalk.Client[bytes], jobs: list[int]) -> None:
    for job in jobs:
        with suppress(greenstalk.NotFoundError):
            client.delete(job)
