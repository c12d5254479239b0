"""The smoke test's whole chain on real beanstalkds; kube-apiserver is a small stand-in that counts their jobs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import greenstalk
import pytest

from app.kube.errors import KubernetesError
from app.settings import ObjectName, Server
from app.smoke.scratch import ScratchTube
from app.smoke.steps import Outcome, Result, Retrier, SmokeSettings, Stop, run_checks, smoke_checks
from tests.beanstalkd.conftest import Beanstalkd

SERVICE = ObjectName("beanscale", "beanscale-server")
APISERVICE = "v1beta1.external.metrics.k8s.io"
METRICS = "/apis/external.metrics.k8s.io/v1beta1"
HPA = ObjectName("beanscale", "hello")
CHECKS = [
    "beanstalkd",
    "APIService",
    "discovery",
    "empty tube",
    "jobs counted",
    "autoscaler",
    "jobs deleted",
    "empty again",
]


class CountingCluster:
    """Answers as kube-apiserver with beanscale behind it does; `refuse` makes it fail where a test wants it to."""

    def __init__(self, beanstalkd: Beanstalkd) -> None:
        self._beanstalkd = beanstalkd
        self.refuse: Callable[[str], KubernetesError | None] = lambda _path: None

    def request(self, _method: str, path: str, *, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        if error := self.refuse(path):
            raise error
        if path.startswith("/apis/apiregistration"):
            return apiservice()
        if path.startswith("/apis/autoscaling"):
            return autoscaler()
        if path == METRICS:
            return {"resources": [{"name": "beanstalkd_tube_jobs"}]}
        tube = (query or {}).get("labelSelector") or path.rpartition("/tube-")[2]
        return {"items": [{"value": str(self._ready(tube.removeprefix("tube=").removesuffix(",state=ready")))}]}

    def _ready(self, tube: str) -> int:
        with client_of(self._beanstalkd) as client:
            try:
                return client.stats_tube(tube)["current-jobs-ready"]
            except greenstalk.NotFoundError:
                return 0


def apiservice() -> dict[str, Any]:
    service = {"namespace": SERVICE.namespace, "name": SERVICE.name}
    available = {"type": "Available", "status": "True"}
    return {"spec": {"service": service, "caBundle": "LS0t"}, "status": {"conditions": [available]}}


def autoscaler() -> dict[str, Any]:
    metric = {"name": "tube-hello"}
    active = [{"type": name, "status": "True"} for name in ("AbleToScale", "ScalingActive")]
    target, current = {"type": "AverageValue", "averageValue": "2"}, {"averageValue": "0"}
    return {
        "metadata": {"namespace": "beanscale", "name": "hello"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "hello"},
            "maxReplicas": 10,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
        },
        "status": {
            "conditions": active,
            "currentReplicas": 1,
            "currentMetrics": [{"type": "External", "external": {"metric": metric, "current": current}}],
        },
    }


def client_of(beanstalkd: Beanstalkd) -> greenstalk.Client:
    return greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None)


@pytest.fixture
def cluster(beanstalkd: Beanstalkd) -> CountingCluster:
    return CountingCluster(beanstalkd)


type Smoke = Callable[..., list[Outcome]]


@pytest.fixture
def smoke(beanstalkd: Beanstalkd, cluster: CountingCluster) -> Smoke:
    """Run the steps; call `meanwhile` before each one with its name and the scratch tube."""

    def walk_the_chain(
        meanwhile: Callable[[str, ScratchTube], object] = lambda _link, _scratch: None,
        stop: Stop | None = None,
    ) -> list[Outcome]:
        server = Server("main", beanstalkd.host, beanstalkd.port)
        settings = SmokeSettings((server,), SERVICE, APISERVICE, HPA, "smoke-", 0.6, None, None)
        with ScratchTube(settings.tube_prefix, settings.servers) as scratch:
            checks = smoke_checks(settings, cluster, scratch, Retrier(settings.timeout_s, stop or Stop()))
            return list(run_checks(checks, lambda name: meanwhile(name, scratch)))

    return walk_the_chain


def broken(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.name: outcome.message for outcome in outcomes if outcome.result is Result.FAILED}


def jobs_in(beanstalkd: Beanstalkd) -> int:
    with client_of(beanstalkd) as client:
        stats = client.stats()
        return sum(stats[f"current-jobs-{state}"] for state in ("ready", "reserved", "delayed", "buried"))


def test_all_steps_pass_and_leave_nothing(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    outcomes = smoke()
    assert [outcome.name for outcome in outcomes] == CHECKS
    assert broken(outcomes) == {}
    assert jobs_in(beanstalkd) == 0


def test_other_jobs_are_never_touched(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    def somebody_puts(link: str, scratch: ScratchTube) -> None:
        if link == "jobs deleted":
            with client_of(beanstalkd) as client:
                client.use(scratch.name)
                client.put(b"not yours")

    outcomes = smoke(somebody_puts)
    assert "is 1, not 0" in broken(outcomes)["empty again"]
    assert jobs_in(beanstalkd) == 1


def test_after_a_restart_the_same_ids_are_other_jobs(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    def restart_and_reuse_the_numbers(link: str, _scratch: ScratchTube) -> None:
        if link == "jobs deleted":
            beanstalkd.restart()
            with client_of(beanstalkd) as client:
                for _ in range(5):
                    client.put(b"precious")

    smoke(restart_and_reuse_the_numbers)
    assert jobs_in(beanstalkd) == 5


@pytest.mark.parametrize("at", ["tube-smoke", "autoscaling"])
def test_jobs_are_removed_whichever_step_fails(
    smoke: Smoke, cluster: CountingCluster, beanstalkd: Beanstalkd, at: str
) -> None:
    failure = KubernetesError("https://k answered GET /x with 503: main can't be read", "see the log", status=503)
    cluster.refuse = lambda path: failure if at in path and jobs_in(beanstalkd) else None
    outcomes = smoke()
    (why,) = broken(outcomes).values()
    assert why == "https://k answered GET /x with 503: main can't be read (waited 0.6 s)"
    assert outcomes[-2].result is Result.PASSED
    assert outcomes[-1].result is Result.SKIPPED
    assert jobs_in(beanstalkd) == 0


def test_jobs_are_removed_when_the_test_is_stopped(
    smoke: Smoke, cluster: CountingCluster, beanstalkd: Beanstalkd
) -> None:
    stop = Stop()

    def stopped_as_soon_as_there_are_jobs(path: str) -> KubernetesError | None:
        if jobs_in(beanstalkd) == 0 or "tube-" not in path:
            return None
        stop(signal.SIGTERM, None)
        return KubernetesError("not yet", "wait")

    cluster.refuse = stopped_as_soon_as_there_are_jobs
    outcomes = smoke(stop=stop)
    assert "stopped" in broken(outcomes)["jobs counted"]
    assert jobs_in(beanstalkd) == 0


def test_jobs_are_removed_even_after_an_internal_error(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    def closed_pipe(link: str, _scratch: ScratchTube) -> None:
        if link == "autoscaler":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        smoke(closed_pipe)
    assert jobs_in(beanstalkd) == 0


def test_jobs_that_cannot_be_removed_are_named(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    outcomes = smoke(lambda link, _scratch: beanstalkd.stop() if link == "jobs deleted" else None)
    assert "connection refused" in broken(outcomes)["jobs deleted"]
    assert f"1 ({beanstalkd.host}:{beanstalkd.port})" in outcomes[-2].hint


def test_a_wrong_metric_is_reported_with_both_numbers(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    def somebody_takes_one(link: str, scratch: ScratchTube) -> None:
        if link == "jobs counted":
            with client_of(beanstalkd) as client:
                client.use(scratch.name)
                client.put(b"one more")

    assert "is 4, not 3" in broken(smoke(somebody_takes_one))["jobs counted"]


def test_a_missing_permission_is_final_and_names_the_binding(smoke: Smoke, cluster: CountingCluster) -> None:
    forbidden = KubernetesError("https://k answered GET /x with 403: User cannot list", "grant it", status=403)
    cluster.refuse = lambda path: forbidden if "tube-" in path else None
    outcomes = smoke()
    assert broken(outcomes) == {"empty tube": "https://k answered GET /x with 403: User cannot list"}
    assert "ClusterRoleBinding NAMESPACE:RELEASE:smoke" in outcomes[3].hint


def test_a_beanstalkd_that_is_down_fails_the_first_step_and_nothing_is_put(
    smoke: Smoke, beanstalkd: Beanstalkd
) -> None:
    beanstalkd.stop()
    outcomes = smoke()
    assert list(broken(outcomes)) == ["beanstalkd"]
    assert "connection refused" in outcomes[0].message
    assert "scaled to 0" in outcomes[0].hint
    assert {outcome.result for outcome in outcomes[1:]} == {Result.SKIPPED}


def test_a_draining_beanstalkd_accepts_no_jobs(smoke: Smoke, beanstalkd: Beanstalkd) -> None:
    with client_of(beanstalkd) as client:
        os.kill(client.stats()["pid"], signal.SIGUSR1)
        until(lambda: client.stats()["draining"] == "true")
    assert "is draining" in broken(smoke())["beanstalkd"]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def command(beanstalkd: Beanstalkd, tmp_path: Path) -> list[str]:
    """`beanscale smoke` with a kubeconfig whose cluster is not there."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: gone\n"
        "clusters: [{name: gone, cluster: {server: 'https://127.0.0.1:9'}}]\n"
        "contexts: [{name: gone, context: {cluster: gone, user: nobody}}]\nusers: [{name: nobody, user: {}}]\n",
        encoding="utf-8",
    )
    options = {
        "beanstalkd": f"{beanstalkd.host}:{beanstalkd.port}",
        "service": SERVICE,
        "apiservice": APISERVICE,
        "hpa": HPA,
        "kubeconfig": kubeconfig,
    }
    return [sys.executable, "-m", "app", "smoke", *(f"--{name}={value}" for name, value in options.items())]


def test_the_command_prints_a_line_for_each_step_and_exits_with_1(command: list[str]) -> None:
    done = subprocess.run([*command, "--timeout=100ms"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("✓ beanstalkd")
    assert lines[1].startswith("✗ APIService")
    assert "hint: " in lines[2]
    assert [line for line in lines if "skipped" in line] == lines[3:-1]
    assert lines[-1] == "Failed: APIService."


def test_sigterm_ends_a_waiting_smoke_test_at_once(command: list[str]) -> None:
    with subprocess.Popen([*command, "--timeout=60s"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "beanstalkd" in process.stdout.readline()
        process.terminate()
        rest = process.stdout.read()
        assert process.wait(60) == 1
    assert "stopped" in rest


def test_a_closed_pipe_causes_no_traceback(command: list[str]) -> None:
    process = subprocess.Popen([*command, "--timeout=100ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
