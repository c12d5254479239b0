"""Install and test the chart, step by step, with progress on the terminal."""

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError

type Json = Mapping[str, Any]

RELEASE = NAMESPACE = "beanscale"
APISERVICE = "v1beta1.external.metrics.k8s.io"
CHART = Path(__file__).parents[2] / "chart"
LABEL = "beanscale-demo"
"""Of the namespace that the demo created and may delete."""

_IMAGE_TIMEOUT_S = 15.0
"""A registry can fail once; a missing image stays missing."""
_APISERVICE_TIMEOUT_S = 60.0
_IMAGE_ERRORS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
"""Reasons of the kubelet for a container that waits for its image."""
_IMAGE = re.compile(r"(?P<repository>[^@]+?)(?::(?P<tag>[^:/@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")


class StepError(Exception):
    """A step failed; `str()` is the cause."""

    def __init__(self, step: str, cause: str, hint: str) -> None:
        super().__init__(cause)
        self.step = step
        self.hint = hint
        """A command to run, or what to do."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The commands for kubectl and helm in this cluster, and kubectl as a user types it."""

    kubectl: tuple[str, ...]
    helm: tuple[str, ...]
    typed_kubectl: str


@contextmanager
def step(console: Console, title: str) -> Iterator[Callable[[str], None]]:
    """Show `title` while it is in progress, then its duration. Yield a function that shows a state."""
    start, last = time.monotonic(), ""
    with console.status(f"{title}: 0 s") as status:

        def show(state: str) -> None:
            nonlocal last
            if console.is_terminal:
                status.update(f"{title}: {time.monotonic() - start:.0f} s  {state}")
            elif state != last:
                console.print(f"{title}: {time.monotonic() - start:.0f} s  {state}")
            last = state

        yield show
    console.print(f"{title}: {time.monotonic() - start:.0f} s")


def create_namespace(kubernetes: Kubernetes, tools: Tools) -> None:
    """Create the namespace with the restricted Pod Security Standard. Raises StepError if another one has its name."""
    labels = {LABEL: "yes", "pod-security.kubernetes.io/enforce": "restricted"}
    try:
        kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": {"name": NAMESPACE, "labels": labels}})
    except KubernetesError as error:
        if error.reason != "AlreadyExists":
            raise StepError("namespace", str(error), f"{tools.typed_kubectl} auth can-i create namespaces") from error
        found = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}")
        if LABEL not in (found["metadata"].get("labels") or {}):
            raise StepError(
                "namespace",
                f"namespace {NAMESPACE} exists, but scripts/demo didn't create it; its content may be in use",
                f"{tools.typed_kubectl} -n {NAMESPACE} get all",
            ) from None
        if found["status"]["phase"] != "Active":
            raise StepError(
                "namespace",
                f"namespace {NAMESPACE} of an earlier demo is still being deleted; retry when it is gone",
                f"{tools.typed_kubectl} get namespace {NAMESPACE} -o yaml",
            ) from None


def install(console: Console, kubernetes: Kubernetes, tools: Tools, values: Sequence[str]) -> None:
    """Run `helm upgrade --install --wait`, but stop early if an image is missing. `values` are --set options.

    Raises StepError.
    """
    title = "helm install"
    command = [*tools.helm, "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE]
    command += ["--wait", "--timeout", "5m", *values]
    with step(console, title) as show, running(command) as (process, output):
        missing_since = None
        while process.poll() is None:
            pods = _pods(kubernetes)
            show(describe_pods(pods))
            missing = missing_image(pods)
            missing_since = (missing_since or time.monotonic()) if missing else None
            if missing and missing_since and time.monotonic() - missing_since > _IMAGE_TIMEOUT_S:
                raise StepError(title, missing, "load the images into the cluster, or set others: scripts/demo --help")
            time.sleep(0.5)
        if process.returncode:
            pods, cause = _pods(kubernetes), helm_error(output())
            if all_ready(pods):
                raise StepError(title, cause, f"chart/values.yaml; {tools.typed_kubectl} -n {NAMESPACE} get all")
            hint = f"{tools.typed_kubectl} -n {NAMESPACE} get pods,events"
            raise StepError(title, f"{cause}; {describe_pods(pods)}", hint)


def wait_until_available(console: Console, kubernetes: Kubernetes, tools: Tools) -> None:
    """Wait until kube-apiserver verifies and reaches the server. Raises StepError."""
    title = "APIService Available"
    start, cause = time.monotonic(), "no condition yet"
    with step(console, title) as show:
        while time.monotonic() - start < _APISERVICE_TIMEOUT_S:
            try:
                found = kubernetes.request("GET", f"/apis/apiregistration.k8s.io/v1/apiservices/{APISERVICE}")
                conditions = found.get("status", {}).get("conditions") or ()
                available = next((each for each in conditions if each["type"] == "Available"), None)
                if available and available["status"] == "True":
                    return
                cause = f"{available.get('reason')}: {available.get('message')}" if available else cause
            except KubernetesError as error:
                cause = str(error)
            show(cause)
            time.sleep(0.25)
    raise StepError(title, cause, f"{tools.typed_kubectl} describe apiservice {APISERVICE}")


_OF_THE_TEST = ("✓ ", "✗ ", "- ", " " * 18, "Failed: ", "All checks")
"""How lines of the test's log start; the rest is Helm's."""


def helm_test(console: Console, tools: Tools) -> None:
    """Run `helm test` and print its log. Raises StepError."""
    title = "helm test"
    version = subprocess.run([*tools.helm, "version", "--short"], capture_output=True, text=True, check=False).stdout
    logs = [] if version.startswith("v3.") else ["--logs"]  # Helm 3 reads them after it has deleted the pod
    command = [*tools.helm, "test", RELEASE, "--namespace", NAMESPACE, *logs, "--timeout", "5m"]
    with step(console, title) as show, running(command) as (process, output):
        while process.poll() is None:
            show("checks each step from beanstalkd to the HPA")
            time.sleep(0.25)
        text = output()
    for line in text.splitlines():
        if line.startswith(_OF_THE_TEST):
            console.print(f"  {line}", highlight=False, markup=False)
    if process.returncode:
        hint = f"{tools.typed_kubectl} -n {NAMESPACE} logs deployment/{RELEASE}-server"
        raise StepError(title, helm_error(text), hint)


@contextmanager
def running(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Yield the command's process and a function that returns its output so far; terminate it on exit.

    It runs in its own session: on Ctrl-C it gets one signal, from here, and helm then marks its release as failed.
    """
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )

        def output() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield process, output
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _pods(kubernetes: Kubernetes) -> list[Json]:
    try:
        pods: list[Json] = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    except KubernetesError:  # only for the progress; helm reports what is wrong with the cluster
        return []
    return pods


def describe_pods(pods: Sequence[Json]) -> str:
    """Return how many are ready, and what the others wait for: at most two of them."""
    if not pods:
        return "no pods yet"
    waiting = [f"{pod['metadata']['name']}: {_state(pod)}" for pod in pods if not _is_ready(pod)]
    return "; ".join([f"{len(pods) - len(waiting)} of {len(pods)} pods ready", *waiting[:2]])


def all_ready(pods: Sequence[Json]) -> bool:
    """Return whether all are ready; True if there are none."""
    return all(map(_is_ready, pods))


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _state(pod: Json) -> str:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    for container in status.get("containerStatuses") or ():
        if waiting := container["state"].get("waiting"):
            return str(waiting.get("reason", "waiting"))
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return f"not scheduled: {condition.get('message', condition.get('reason', ''))}"
    return "starting" if status.get("phase", "Pending") in {"Pending", "Running"} else str(status["phase"])


def missing_image(pods: Iterable[Json]) -> str | None:
    """Return a sentence about the first pod whose image is missing; None if there is none."""
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            waiting = status["state"].get("waiting") or {}
            if waiting.get("reason") in _IMAGE_ERRORS:
                return f"the cluster has no image {status['image']} and can't pull it (pod {pod['metadata']['name']})"
    return None


def image_values(key: str, reference: str) -> list[str]:
    """Return helm options that set `REPOSITORY[:TAG][@DIGEST]` below the chart's `key`. Raises ValueError."""
    parts = _IMAGE.fullmatch(reference)
    if not parts:
        raise ValueError(
            f"{reference!r} is not an image: expected REPOSITORY:TAG, e.g. registry.example.com/beanscale:0.2.0"
        )
    return [f"--set-string={key}.{part}={value}" for part, value in parts.groupdict().items() if value]


def helm_error(output: str) -> str:
    """Return helm's error, which can have several lines, without its position in the chart."""
    _, _, error = output.partition("Error: ")
    lines = [line for line in (error or output).splitlines() if line.strip()]
    if lines[1:] and "execution error at" in lines[0]:
        del lines[0]
    return "\n  ".join(lines) or "helm ended without a message"
