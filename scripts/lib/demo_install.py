"""The chart installed and proven, step by step, with what is going on told meanwhile."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from app.kube.checks import CheckFailedError
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from app.smoke.metrics_api import MetricsApi
from scripts.lib.demo_pods import Json, all_ready, helm_reason, pods_in_words, unpullable

RELEASE = NAMESPACE = "beanscale"
APISERVICE = "v1beta1.external.metrics.k8s.io"
SERVER = ObjectName(NAMESPACE, f"{RELEASE}-server")
CHART = Path(__file__).parents[2] / "chart"

OURS = "beanscale-demo"
"""The label of the namespace that the demo made and may remove."""
_IMAGE_PATIENCE_S = 15.0
"""A registry may stumble once; an image that isn't there stays away."""
_APISERVICE_PATIENCE_S = 60.0


class StepError(Exception):
    """A step failed; `str()` is the reason."""

    def __init__(self, step: str, why: str, look: str) -> None:
        super().__init__(why)
        self.step = step
        self.look = look
        """What to look at: a command, or what to do."""


@dataclass(frozen=True, slots=True)
class Tools:
    """How this cluster's kubectl and helm are called, and how a person calls that kubectl."""

    kubectl: tuple[str, ...]
    helm: tuple[str, ...]
    kubectl_in_words: str


@contextmanager
def step(console: Console, title: str) -> Iterator[Callable[[str], None]]:
    """Tell that `title` is under way and, in the end, how long it took; call what this yields with news meanwhile."""
    begun, said = time.monotonic(), ""
    with console.status(f"{title}: 0 s") as status:

        def tell(news: str) -> None:
            nonlocal said
            if console.is_terminal:
                status.update(f"{title}: {time.monotonic() - begun:.0f} s  {news}")
            elif news != said:
                console.print(f"{title}: {time.monotonic() - begun:.0f} s  {news}")
            said = news

        yield tell
    console.print(f"{title}: {time.monotonic() - begun:.0f} s")


def make_namespace(kubernetes: Kubernetes, tools: Tools) -> None:
    """Ours, enforcing the restricted Pod Security Standard. Raises StepError where somebody else's has that name."""
    labels = {OURS: "yes", "pod-security.kubernetes.io/enforce": "restricted"}
    try:
        kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": {"name": NAMESPACE, "labels": labels}})
    except KubernetesError as error:
        if error.reason != "AlreadyExists":
            raise StepError(
                "namespace", str(error), f"{tools.kubectl_in_words} auth can-i create namespaces"
            ) from error
        found = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}")
        if OURS not in (found["metadata"].get("labels") or {}):
            raise StepError(
                "namespace",
                f"there is a namespace {NAMESPACE} that no demo made, and what is in it may be in use",
                f"{tools.kubectl_in_words} -n {NAMESPACE} get all",
            ) from None
        if found["status"]["phase"] != "Active":
            raise StepError(
                "namespace",
                f"the namespace {NAMESPACE} of an earlier demo is still being removed; try again when it is gone",
                f"{tools.kubectl_in_words} get namespace {NAMESPACE} -o yaml",
            ) from None


def install(console: Console, kubernetes: Kubernetes, tools: Tools, values: Sequence[str]) -> None:
    """`helm upgrade --install --wait`, given up early where an image can't be had; `values` are its --set options.

    Raises StepError.
    """
    title = "helm install"
    command = [*tools.helm, "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE]
    command += ["--wait", "--timeout", "5m", *values]
    with step(console, title) as tell, running(command) as (process, said):
        missing_since = None
        while process.poll() is None:
            pods = _pods(kubernetes)
            tell(pods_in_words(pods))
            missing = unpullable(pods)
            missing_since = (missing_since or time.monotonic()) if missing else None
            if missing and missing_since and time.monotonic() - missing_since > _IMAGE_PATIENCE_S:
                raise StepError(
                    title, missing, "load the images into the cluster first, or name others: scripts/demo --help"
                )
            time.sleep(0.5)
        if process.returncode:
            raise _failed(title, said(), _pods(kubernetes), tools)


def wait_until_available(console: Console, kubernetes: Kubernetes) -> None:
    """Until kube-apiserver trusts and reaches the server. Raises StepError."""
    title = "APIService Available"
    metrics_api = MetricsApi(kubernetes, APISERVICE, SERVER)
    begun = time.monotonic()
    with step(console, title) as tell:
        while True:
            try:
                metrics_api.check_api_service()
            except CheckFailedError as broken:
                tell(str(broken))
                if broken.final or time.monotonic() - begun > _APISERVICE_PATIENCE_S:
                    raise StepError(title, str(broken), broken.hint) from broken
                time.sleep(0.25)
            else:
                return


def prove(console: Console, tools: Tools) -> None:
    """`helm test`: every link of the chain, in its own words. Raises StepError."""
    title = "helm test"
    command = [*tools.helm, "test", RELEASE, "--namespace", NAMESPACE, "--logs", "--timeout", "5m"]
    with step(console, title) as tell, running(command) as (process, said):
        while process.poll() is None:
            tell("proves every link from beanstalkd to the autoscaler")
            time.sleep(0.25)
        told = said()
    links = told.partition("POD LOGS:")[2].strip().splitlines()[1:]
    for line in links:
        console.print(f"  {line}", highlight=False, markup=False)
    if process.returncode:
        raise StepError(
            title, helm_reason(told), f"{tools.kubectl_in_words} -n {NAMESPACE} logs deployment/{SERVER.name}"
        )


@contextmanager
def running(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """The command's process, and a call that tells what it has said; ended, and waited for, when left early.

    In a session of its own: of Ctrl-C it gets one signal, from here, on which helm marks its release as failed.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )

        def said() -> str:
            output.seek(0)
            return output.read().decode(errors="replace")

        try:
            yield process, said
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _failed(title: str, said: str, pods: Sequence[Json], tools: Tools) -> StepError:
    reason = helm_reason(said)
    if not all_ready(pods):
        return StepError(
            title, f"{reason}; {pods_in_words(pods)}", f"{tools.kubectl_in_words} -n {NAMESPACE} get pods,events"
        )
    return StepError(title, reason, f"chart/values.yaml; {tools.kubectl_in_words} -n {NAMESPACE} get all")


def _pods(kubernetes: Kubernetes) -> list[Json]:
    try:
        pods: list[Json] = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    except KubernetesError:  # only news; helm, which needs the cluster too, will say what is wrong with it
        return []
    return pods
