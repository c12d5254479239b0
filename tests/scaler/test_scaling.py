"""The scaler's own work: up within a second, up from zero, down to zero, and nothing else.

A bound in seconds is generous, because the machine may be busy; the strict figures are those of `scripts/bench scale`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import greenstalk
import pytest

from tests.beanstalkd.conftest import Beanstalkd
from tests.scaler.cluster import (
    CPU,
    DEPLOYMENTS,
    FLEETS,
    HPAS,
    PROMPT,
    SCALER,
    Cluster,
    Json,
    Versions,
    eventually,
    external,
    minor_version,
    stays,
    writer,
)
from tests.scaler.conftest import Note

pytestmark = pytest.mark.timeout(300)

SOON_S = 6.0
"""Much less than the sync period of 15 s, and enough on a busy machine."""
SCALED_DOWN_S = 40.0
"""Two syncs, and some time."""

type Jobs = greenstalk.Client[bytes]


@pytest.fixture(scope="module")
def scaled(cluster: Cluster, source: Beanstalkd) -> Iterator[Cluster]:
    with cluster.server(f"{source.host}:{source.port}"):
        yield cluster


@pytest.fixture
def tube(scaled: Cluster, name: str) -> str:
    """The metric of a new tube; the account may scale the fleet of the same name."""
    scaled.allow(name)
    return f"tube-{name}"


def put(jobs: Jobs, count: int, **options: int) -> None:
    for _ in range(count):
        jobs.put(b"waits", **options)


def take(jobs: Jobs, count: int) -> None:
    for _ in range(count):
        jobs.delete(jobs.reserve(timeout=10))


def has(cluster: Cluster, name: str, replicas: int, within_s: float = SOON_S) -> None:
    eventually(lambda: cluster.replicas(name) == replicas, f"{replicas} replicas of {name}", within_s)


def is_synced(cluster: Cluster, name: str) -> None:
    """Wait until the controller has read the scale, before which the scaler leaves it alone.

    It finds a new kind of resource only after up to half a minute.
    """

    def able() -> bool:
        conditions = cluster.read(HPAS, "horizontalpodautoscalers", name)["status"].get("conditions", ())
        return any((each["type"], each["status"]) == ("AbleToScale", "True") for each in conditions)

    eventually(able, "a sync", 60)


def message(cluster: Cluster, name: str, reason: str) -> str:
    """Return the message of the HPA's only Event of beanscale with that reason."""
    (event,) = eventually(lambda: cluster.events(name, reason), f"an Event {reason}")
    return str(event["message"])


def test_jobs_scale_up_at_once_and_the_controller_agrees(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    scaled.allow(f"{name}-plain")
    for each, options in ((name, {"immediate": "true"}), (f"{name}-plain", {})):
        scaled.fleet(each)
        scaled.hpa(each, external(tube), **options)
    is_synced(scaled, name)
    put(jobs, 20)
    has(scaled, name, 10)
    assert writer(scaled.read(FLEETS, "fleets", name)) == SCALER
    assert message(scaled, name, "Scaled").startswith(
        f"Scaled Fleet/{name} from 1 to 10: {tube} is 20, target 2 per pod"
    )
    has(scaled, f"{name}-plain", 10, SCALED_DOWN_S)
    assert writer(scaled.read(FLEETS, "fleets", f"{name}-plain")) == "kube-controller-manager/scale"
    assert not scaled.events(f"{name}-plain")
    eventually(
        lambda: scaled.read(HPAS, "horizontalpodautoscalers", name)["status"].get("desiredReplicas") == 10,
        "the controller's agreement",
        SCALED_DOWN_S,
    )


def test_a_deployment_scales_too_also_during_its_rollout(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    """Its new pods can't be scheduled, so that the rollout never ends."""
    scaled.allow(name, resource="deployments", group="apps")
    scaled.deployment(name, 2, nodeSelector={"none": "none"})
    scaled.hpa(name, external(tube), kind="Deployment", immediate="true", minimum=2)
    eventually(lambda: scaled.read(DEPLOYMENTS, "deployments", name).get("status", {}).get("replicas") == 2, "2 pods")
    template = {"metadata": {"annotations": {"version": "2"}}}
    scaled.patch(DEPLOYMENTS, "deployments", name, spec={"template": template})
    eventually(lambda: scaled.read(DEPLOYMENTS, "deployments", name)["status"]["replicas"] > 2, "a rollout")
    is_synced(scaled, name)
    put(jobs, 20)
    eventually(lambda: scaled.replicas(name, DEPLOYMENTS, "deployments") == 10, "10 replicas", SOON_S)
    scaled.delete(HPAS, "horizontalpodautoscalers", name)
    scaled.delete(DEPLOYMENTS, "deployments", name)


@pytest.mark.parametrize(
    ("limited", "expected"),
    [
        pytest.param({"maximum": 4}, 4, id="maximum"),
        pytest.param({"minimum": 3}, 10, id="from-the-minimum"),
        pytest.param({"behavior": None}, 4, id="no-behavior"),
        pytest.param(
            {"behavior": PROMPT | {"scaleUp": {"policies": [{"type": "Pods", "value": 3, "periodSeconds": 60}]}}},
            4,
            id="policy",
        ),
    ],
)
def test_limits_and_policies_of_the_hpa_hold(
    scaled: Cluster, jobs: Jobs, name: str, tube: str, limited: Json, expected: int
) -> None:
    scaled.fleet(name, limited.get("minimum", 1))
    scaled.hpa(name, external(tube), immediate="true", **limited)
    put(jobs, 20)
    eventually(lambda: scaled.replicas(name) >= expected, "more pods", SCALED_DOWN_S)
    assert scaled.replicas(name) == expected


@pytest.mark.parametrize(
    "behavior",
    [
        pytest.param({"scaleUp": {"stabilizationWindowSeconds": 30}}, id="stabilization"),
        pytest.param({"scaleUp": {"selectPolicy": "Disabled"}}, id="disabled"),
    ],
)
def test_what_an_hpa_delays_or_forbids_is_reported_once_and_left_to_the_controller(
    scaled: Cluster, jobs: Jobs, name: str, tube: str, behavior: Json
) -> None:
    scaled.fleet(name)
    scaled.hpa(name, external(tube), behavior=PROMPT | behavior, immediate="true")
    put(jobs, 20)
    assert f"Fleet/{name} isn't scaled up by beanscale: " in message(scaled, name, "NotScaled")
    stays(lambda: scaled.replicas(name), 1, 8)
    assert len(scaled.events(name)) == 1


def test_a_paused_hpa_is_left_alone_until_it_goes_on(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    scaled.fleet(name, 0)
    scaled.hpa(name, external(tube), immediate="true", scale_to_zero="5s", paused="true")
    put(jobs, 20)
    stays(lambda: scaled.replicas(name), 0, 6)
    scaled.annotate(name, paused=None)
    has(scaled, name, 10)


@pytest.mark.parametrize("annotations", [{"immediate": "yes"}, {"immediate": "true", "scale_to_zero": "soon"}])
def test_an_invalid_annotation_disables_all_and_is_reported(
    scaled: Cluster, jobs: Jobs, name: str, tube: str, annotations: dict[str, str]
) -> None:
    scaled.fleet(name, 0)
    scaled.hpa(name, external(tube), **annotations)
    put(jobs, 20)
    said = message(scaled, name, "NotScaled")
    assert "beanscale/" in said
    stays(lambda: scaled.replicas(name), 0, 5)
    assert len(scaled.events(name)) == 1


def test_a_workload_at_zero_scales_to_the_computed_number(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    scaled.fleet(name, 0)
    scaled.hpa(name, external(tube, "3"), immediate="true", scale_to_zero="10m")
    stays(lambda: scaled.replicas(name), 0, 3)
    put(jobs, 20)
    eventually(lambda: scaled.replicas(name), "pods", SOON_S)
    assert scaled.replicas(name) == 7
    assert message(scaled, name, "Scaled").startswith(
        f"Scaled Fleet/{name} from 0 to 7: {tube} is 20, target 3 per pod"
    )


def test_a_workload_that_kubernetes_scaled_to_zero_starts_at_once(
    scaled: Cluster, jobs: Jobs, name: str, tube: str
) -> None:
    """By the HPA's own minReplicas: 0. One that a person scaled to 0 is disabled, and stays there."""
    if minor_version(scaled.kubernetes) < 37:
        pytest.skip("this Kubernetes doesn't scale to 0")
    scaled.allow(f"{name}-by-hand")
    for each, replicas in ((name, 1), (f"{name}-by-hand", 0)):
        scaled.fleet(each, replicas)
        scaled.hpa(each, external(tube), minimum=0, immediate="true")
    has(scaled, name, 0, SCALED_DOWN_S)
    time.sleep(2)
    put(jobs, 20)
    has(scaled, name, 10)
    assert message(scaled, name, "Scaled").startswith(f"Scaled Fleet/{name} from 0 to 10: ")
    stays(lambda: scaled.replicas(f"{name}-by-hand"), 0, 4)


@pytest.mark.parametrize("replicas", [0, 1])
def test_jobs_at_ten_moments_scale_soon(
    scaled: Cluster, source: Beanstalkd, name: str, note: Note, replicas: int
) -> None:
    names = [f"{name}-{number}" for number in range(10)]
    scaled.allow(*names)
    for each in names:
        scaled.fleet(each, replicas)
        scaled.hpa(each, external(f"tube-{each}"), immediate="true", scale_to_zero="10m")
    put_at = {}
    with (
        Versions(scaled.kubernetes, scaled.path(FLEETS, "fleets")) as fleets,
        greenstalk.Client((source.host, source.port), encoding=None) as client,
    ):
        time.sleep(3)
        for each in names:
            client.use(each)
            put_at[each] = time.monotonic()
            put(client, 20)
            time.sleep(1.37)
        for each in names:
            has(scaled, each, 10)
    took_s = sorted(fleets.replicas(each)[1][0] - put_at[each] for each in names)
    version = scaled.kubernetes.request("GET", "/version")["gitVersion"]
    note(f"Kubernetes {version}, from {replicas} pods, seconds: {', '.join(f'{each:.2f}' for each in took_s)}")
    assert took_s[-1] < SOON_S


def test_only_ready_jobs_of_an_unpaused_tube_start_a_workload(
    scaled: Cluster, jobs: Jobs, name: str, tube: str
) -> None:
    scaled.fleet(name, 0)
    scaled.hpa(name, external(tube), immediate="true", scale_to_zero="10m")
    put(jobs, 5, delay=3600)
    for _ in range(5):
        jobs.put(b"buried")
        jobs.bury(jobs.reserve(timeout=10))
    # the jobs above are reserved for moments, which is not ready either
    stays(lambda: scaled.replicas(name), 0, 4)
    jobs.pause_tube(name, 600)
    put(jobs, 5)
    stays(lambda: scaled.replicas(name), 0, 4)
    jobs.pause_tube(name, 0)
    has(scaled, name, 3)


def test_an_idle_workload_scales_to_zero_after_its_time(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    """A reserved job is work, however long it takes."""
    idle_s = 6
    scaled.fleet(name)
    scaled.hpa(name, external(tube), immediate="true", scale_to_zero=f"{idle_s}s")
    put(jobs, 1)
    job = jobs.reserve(timeout=10)
    stays(lambda: scaled.replicas(name), 1, idle_s + 3)
    jobs.delete(job)
    stays(lambda: scaled.replicas(name), 1, idle_s - 0.1)
    has(scaled, name, 0)
    said = message(scaled, name, "Scaled")
    assert said == f"Scaled Fleet/{name} from 1 to 0: no job was ready, reserved, put or deleted for {idle_s} s"


def test_a_job_that_no_worker_watches_for_begins_the_idle_time_again(
    scaled: Cluster, source: Beanstalkd, name: str
) -> None:
    """Its tube doesn't exist before and after it. Ten of them, because readings come every second."""
    idle_s, names, deleted_at = 8, [f"{name}-{number}" for number in range(10)], {}
    scaled.allow(*names)
    for each in names:
        scaled.fleet(each)
        scaled.hpa(each, external(f"tube-{each}"), immediate="true", scale_to_zero=f"{idle_s}s")
    for each in names:
        has(scaled, each, 0, 3 * idle_s)
    with Versions(scaled.kubernetes, scaled.path(FLEETS, "fleets")) as fleets:
        for each in names:
            with greenstalk.Client((source.host, source.port), encoding=None, use=each) as client:
                job = client.put(b"short")
                has(scaled, each, 1)
                client.delete(job)
            deleted_at[each] = time.monotonic()
        for each in names:
            has(scaled, each, 0, 3 * idle_s)
    took_s = [fleets.replicas(each)[-1][0] - deleted_at[each] for each in names]
    assert min(took_s) >= idle_s - 0.1, took_s
    assert max(took_s) <= idle_s + SOON_S, took_s


def test_a_tube_whose_jobs_are_taken_at_once_is_never_scaled_to_zero(
    scaled: Cluster, source: Beanstalkd, name: str, tube: str
) -> None:
    """Two jobs a second: ready + reserved is 0 at every reading, and only the counters show them."""
    idle_s = 4
    with traffic(source, name):
        scaled.fleet(name)
        scaled.hpa(name, external(tube), immediate="true", scale_to_zero=f"{idle_s}s")
        stays(lambda: scaled.replicas(name), 1, 6 * idle_s)
    has(scaled, name, 0, idle_s + SOON_S)


@contextmanager
def traffic(source: Beanstalkd, tube: str) -> Iterator[None]:
    """Put two jobs a second, for a worker that waits for each and deletes it at once."""
    over = threading.Event()

    def work() -> None:
        with greenstalk.Client((source.host, source.port), encoding=None, watch=tube) as worker:
            while not over.is_set():
                with suppress(greenstalk.TimedOutError):
                    worker.delete(worker.reserve(timeout=1))

    def produce() -> None:
        with greenstalk.Client((source.host, source.port), encoding=None, use=tube) as producer:
            while not over.wait(0.5):
                producer.put(b"short")

    threads = [threading.Thread(target=each) for each in (work, produce)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join(30)


@pytest.mark.parametrize(
    ("replicas", "options", "metrics", "reason"),
    [
        pytest.param(
            3, {"behavior": PROMPT | {"scaleDown": {"selectPolicy": "Disabled"}}}, [], "", id="more-than-one-pod"
        ),
        pytest.param(2, {"minimum": 2}, [], "minReplicas", id="minimum-2"),
        pytest.param(1, {}, [CPU], "Resource", id="metric-of-another-server"),
    ],
)
def test_only_an_hpa_whose_minimum_is_1_and_whose_metrics_are_all_known_scales_to_zero(
    scaled: Cluster, name: str, tube: str, replicas: int, options: Json, metrics: list[Json], reason: str
) -> None:
    scaled.fleet(name, replicas)
    scaled.hpa(name, external(tube), *metrics, immediate="true", scale_to_zero="3s", **options)
    stays(lambda: scaled.replicas(name), replicas, 10)
    if reason:
        assert reason in message(scaled, name, "NotScaled")


def test_two_jobs_below_the_activation_start_nothing(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    scaled.fleet(name, 0)
    scaled.hpa(name, external(tube), immediate="true", scale_to_zero="10m", activation="2")
    put(jobs, 2)
    stays(lambda: scaled.replicas(name), 0, 4)
    put(jobs, 1)
    has(scaled, name, 2)


def test_a_workload_that_is_scaled_by_hand_follows_its_hpa(scaled: Cluster, jobs: Jobs, name: str, tube: str) -> None:
    """More pods than computed are the controller's to remove. Without scale-to-zero, 0 means disabled."""
    scaled.fleet(name)
    scaled.hpa(name, external(tube), immediate="true", behavior=PROMPT | {"scaleDown": {"selectPolicy": "Disabled"}})
    is_synced(scaled, name)
    put(jobs, 6)
    has(scaled, name, 3)
    scaled.scale(name, 8)
    stays(lambda: scaled.replicas(name), 8, 4)
    scaled.scale(name, 0)
    put(jobs, 6)
    stays(lambda: scaled.replicas(name), 0, 6)


def test_kedas_scenario_passes_as_it_stands(scaled: Cluster, jobs: Jobs, name: str) -> None:
    """KEDA's own end-to-end test for beanstalkd: its numbers, steps and time limits."""
    scaled.allow(name)
    scaled.fleet(name, 0)
    scaled.hpa(name, external(f"tube-{name}", "15"), maximum=3, immediate="true", scale_to_zero="10s", activation="10")
    put(jobs, 5)
    stays(lambda: scaled.replicas(name), 0, 30)
    put(jobs, 100)
    has(scaled, name, 3, 60)
    take(jobs, 80)
    has(scaled, name, 2, 60)
    take(jobs, 25)
    has(scaled, name, 0, 60)
