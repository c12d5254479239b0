"""Faults around the scaler: never a wrong number of pods, one clear message each, and it goes on by itself."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import greenstalk
import pytest

from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.attackers import resident_bytes
from tests.kubernetes.conftest import Beanscale
from tests.scaler.cluster import (
    FLEETS,
    HPAS,
    PROMPT,
    SCALER,
    Cluster,
    Versions,
    eventually,
    external,
    stays,
    writer,
)
from tests.scaler.conftest import Note
from tests.scaler.proxy import Wire, proxied

pytestmark = pytest.mark.timeout(300)

IDLE_S = 6
SOON_S = 10.0
SYNCED_S = 40.0
KEPT = PROMPT | {"scaleDown": {"selectPolicy": "Disabled"}}
"""So that only the scaler removes pods."""
AT_REST = 1000
AT_REST_S = 20
MIB = 1 << 20

type Jobs = greenstalk.Client[bytes]


@pytest.fixture
def jobs(beanstalkd: Beanstalkd, name: str) -> Iterator[Jobs]:
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use=name, watch=name) as client:
        yield client


@pytest.fixture
def wired(cluster: Cluster, pki: Path, tmp_path: Path) -> Iterator[tuple[Wire, Path]]:
    with proxied(cluster.kubeconfig, pki, tmp_path) as made:
        yield made


@pytest.fixture
def server(cluster: Cluster, beanstalkd: Beanstalkd, wired: tuple[Wire, Path], name: str) -> Iterator[Beanscale]:
    """A server behind the wire; it may scale the fleet of the test."""
    cluster.allow(name)
    with cluster.server(address(beanstalkd), kubeconfig=wired[1]) as started:
        yield started


def address(beanstalkd: Beanstalkd) -> str:
    return f"{beanstalkd.host}:{beanstalkd.port}"


def put(jobs: Jobs, count: int) -> None:
    for _ in range(count):
        jobs.put(b"waits")


def message(cluster: Cluster, name: str, reason: str = "NotScaled") -> str:
    """Return the message of the HPA's only Event of beanscale with that reason."""
    (event,) = eventually(lambda: cluster.events(name, reason), f"an Event {reason}")
    return str(event["message"])


def logged(server: Beanscale, *words: str) -> list[str]:
    """Return the lines of the log with all these words."""
    return [line for line in server.log.read_text().splitlines() if all(word in line for word in words)]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_while_beanstalkd_is_down_no_number_changes(
    cluster: Cluster, beanstalkd: Beanstalkd, name: str, fault: str
) -> None:
    for each, replicas in ((name, 1), (f"{name}-busy", 5)):
        cluster.fleet(each, replicas)
    cluster.allow(f"{name}-busy")
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use=f"{name}-busy") as other:
        put(other, 10)
    cluster.hpa(name, external(f"tube-{name}"), behavior=KEPT, immediate="true", scale_to_zero=f"{IDLE_S}s")
    cluster.hpa(f"{name}-busy", external(f"tube-{name}-busy"), immediate="true", scale_to_zero=f"{IDLE_S}s")
    time.sleep(IDLE_S / 2)
    getattr(beanstalkd, fault)()
    stays(lambda: cluster.replicas(name) * 10 + cluster.replicas(f"{name}-busy"), 15, 3 * IDLE_S)
    assert "can't be read" in message(cluster, name)
    if fault == "stop":
        beanstalkd.start()  # empty
    else:
        beanstalkd.thaw()
    # the period starts again with the first reading
    stays(lambda: cluster.replicas(name), 1, IDLE_S - 2)
    eventually(lambda: cluster.replicas(name) == 0, "0 after the idle time", SOON_S)
    assert len(cluster.events(name, "NotScaled")) == 1


def test_a_restart_of_the_server_starts_the_idle_time_again(
    cluster: Cluster, beanstalkd: Beanstalkd, name: str
) -> None:
    cluster.allow(name)
    cluster.fleet(name)
    cluster.hpa(name, external(f"tube-{name}"), immediate="true", scale_to_zero=f"{IDLE_S}s")
    with cluster.server(address(beanstalkd)):
        time.sleep(IDLE_S - 3)
    with cluster.server(address(beanstalkd)):
        stays(lambda: cluster.replicas(name), 1, IDLE_S - 2)
        eventually(lambda: cluster.replicas(name) == 0, "0 after the idle time", SOON_S)


def test_after_an_outage_of_kube_apiserver_it_goes_on(
    cluster: Cluster, server: Beanscale, wired: tuple[Wire, Path], jobs: Jobs, name: str
) -> None:
    """The controller, which isn't cut off, doesn't scale up from 0 here."""
    cluster.fleet(name, 0)
    cluster.hpa(name, external(f"tube-{name}"), immediate="true", scale_to_zero="10m")
    time.sleep(2)
    wired[0].cut_all()
    put(jobs, 20)
    stays(lambda: cluster.replicas(name), 0, 8)
    wired[0].cut = False
    eventually(lambda: cluster.replicas(name) == 10, "10 replicas", 20)
    assert writer(cluster.read(FLEETS, "fleets", name)) == SCALER
    assert len(logged(server, "isn't scaled", name, "unavailable")) == 1


def test_a_conflict_at_every_patch_changes_nothing_and_ends_with_it(
    cluster: Cluster, server: Beanscale, wired: tuple[Wire, Path], jobs: Jobs, name: str, pki: Path
) -> None:
    cluster.fleet(name, 0)
    cluster.hpa(name, external(f"tube-{name}"), immediate="true", scale_to_zero="10m")
    versions = iter(range(1000))

    def change(_: str) -> None:
        cluster.patch(FLEETS, "fleets", name, metadata={"annotations": {"version": str(next(versions))}})

    wired[0].before_patch = change
    put(jobs, 20)
    stays(lambda: cluster.replicas(name), 0, 8)
    assert 1 < wired[0].count("PATCH", f"/fleets/{name}/scale") <= 9, "at most one a second"
    wired[0].before_patch = lambda _: None
    eventually(lambda: cluster.replicas(name) == 10, "10 replicas", SOON_S)
    assert len(cluster.events(name, "NotScaled")) <= 1
    assert 'beanscale_scaler_rejections_total{reason="conflict"} 1.0' in metrics(server, pki)
    assert len(logged(server, "isn't scaled", name, "conflict")) == 1


def metrics(server: Beanscale, pki: Path) -> str:
    with server.client((pki / "admin.crt", pki / "admin.key")) as client:
        return client.get("/metrics").text


@pytest.mark.usefixtures("server")
def test_a_deleted_target_is_reported_and_followed_when_it_is_back(cluster: Cluster, jobs: Jobs, name: str) -> None:
    cluster.fleet(name)
    cluster.hpa(name, external(f"tube-{name}"), immediate="true")
    time.sleep(2)
    cluster.delete(FLEETS, "fleets", name)
    put(jobs, 20)
    assert f"Fleet/{name} isn't scaled by beanscale: " in message(cluster, name)
    time.sleep(3)
    cluster.fleet(name)
    eventually(lambda: cluster.replicas(name) == 10, "10 replicas", SYNCED_S)
    assert len(cluster.events(name, "NotScaled")) == 1


@pytest.mark.usefixtures("server")
def test_a_missing_permission_is_reported_with_its_fix(cluster: Cluster, jobs: Jobs, name: str) -> None:
    cluster.fleet(f"{name}-other", 0)
    cluster.hpa(name, external(f"tube-{name}"), target=f"{name}-other", immediate="true", scale_to_zero="10m")
    put(jobs, 20)
    said = message(cluster, name)
    assert said.startswith(f"Fleet/{name}-other isn't scaled by beanscale: ")
    assert "fleets/scale" in said
    stays(lambda: cluster.replicas(f"{name}-other"), 0, 5)
    assert len(cluster.events(name)) == 1
    cluster.allow(f"{name}-other")
    eventually(lambda: cluster.replicas(f"{name}-other") == 10, "10 replicas", 90)


@pytest.mark.usefixtures("server")
def test_a_deleted_hpa_is_left_alone(cluster: Cluster, jobs: Jobs, name: str) -> None:
    cluster.fleet(name, 0)
    cluster.hpa(name, external(f"tube-{name}"), immediate="true", scale_to_zero="10m")
    time.sleep(2)
    cluster.delete(HPAS, "horizontalpodautoscalers", name)
    put(jobs, 20)
    stays(lambda: cluster.replicas(name), 0, 6)


def test_two_replicas_at_once_have_no_double_effect(
    cluster: Cluster, beanstalkd: Beanstalkd, name: str, pki: Path, tmp_path: Path
) -> None:
    """Each patch waits until both replicas have sent theirs, which were computed from the same version."""
    names = [f"{name}-{number}" for number in range(5)]
    cluster.allow(*names)
    together = {f"{cluster.path(FLEETS, 'fleets', each)}/scale": threading.Barrier(2) for each in names}

    def wait(path: str) -> None:
        with suppress(threading.BrokenBarrierError):
            together[path.partition("?")[0]].wait(4)

    with ExitStack() as stack:
        wires = []
        for front in (True, False):
            folder = tmp_path / str(front)
            folder.mkdir()
            wire, kubeconfig = stack.enter_context(proxied(cluster.kubeconfig, pki, folder))
            wire.before_patch = wait
            stack.enter_context(cluster.server(address(beanstalkd), kubeconfig=kubeconfig, front=front))
            wires.append(wire)
        for each in names:
            cluster.fleet(each, 0)
            cluster.hpa(each, external(f"tube-{each}"), immediate="true", scale_to_zero="10m")
        fleets = stack.enter_context(Versions(cluster.kubernetes, cluster.path(FLEETS, "fleets")))
        time.sleep(2)
        with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None) as client:
            for each in names:
                client.use(each)
                put(client, 20)
        for each in names:
            eventually(lambda: cluster.replicas(each) == 10, "10 replicas", SOON_S)  # noqa: B023 - awaited
        time.sleep(3)
        for each in names:
            numbers = [number for _, number, _ in fleets.replicas(each)]
            assert numbers == sorted(set(numbers)), "a reading may have counted only some of the jobs"
            assert len(cluster.events(each)) == len(numbers) - 1
        sent = [wire.count("PATCH", "/scale") for wire in wires]
        done = sum(len(wire.patched) for wire in wires)
        assert min(sent) >= len(names), sent
        assert done == sum(len(fleets.replicas(each)) - 1 for each in names)


@pytest.mark.usefixtures("server")
def test_a_thousand_hpas_at_rest_cost_only_the_watch(
    cluster: Cluster, wired: tuple[Wire, Path], name: str, note: Note
) -> None:
    names = [f"{name}-{number}" for number in range(AT_REST)]

    def create(each: str) -> None:
        cluster.fleet(each)
        cluster.hpa(each, external(f"tube-{each}"), immediate="true")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, names))
    time.sleep(5)
    before = len(wired[0].requests)
    time.sleep(AT_REST_S)
    sent = wired[0].requests[before:]
    scaling = [each for each in sent if re.search("autoscaling|/scale|events|scaler.test", each[1])]
    note(f"{AT_REST:,} HPAs at rest: {len(sent)} requests in {AT_REST_S} s, of the scaler: {scaling}")
    assert len(scaling) <= 1, "a watch that is renewed"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: cluster.delete(HPAS, "horizontalpodautoscalers", each), names))
        list(pool.map(lambda each: cluster.delete(FLEETS, "fleets", each), names))


def has_value(cluster: Cluster, name: str) -> bool:
    """Return whether the controller got a value of the HPA's metric: before, the scaler waits too."""
    conditions = cluster.read(HPAS, "horizontalpodautoscalers", name)["status"].get("conditions", ())
    return any((each["type"], each["status"]) == ("ScalingActive", "True") for each in conditions)


def test_hpas_of_a_megabyte_disturb_no_other(
    cluster: Cluster, beanstalkd: Beanstalkd, jobs: Jobs, name: str, note: Note
) -> None:
    """Whoever may create HPAs in one namespace must not take the memory or the time of the server."""
    cluster.allow(name)
    large = [f"{name}-{number}" for number in range(40)]
    many = [external(f"lag-of-topic-{number}-{'x' * 100}") for number in range(4000)]
    for number, each in enumerate(large):
        cluster.hpa(each, *([external("x" * 900_000)] if number % 2 else many), immediate="true")
    cluster.fleet(name)
    try:
        with cluster.server(address(beanstalkd)) as server:
            cluster.hpa(name, external(f"tube-{name}"), immediate="true")
            eventually(lambda: has_value(cluster, name), "a sync with a value", 60)
            put(jobs, 20)
            eventually(lambda: cluster.replicas(name) == 10, "10 replicas", SOON_S)
            assert writer(cluster.read(FLEETS, "fleets", name)) == SCALER
            peak = resident_bytes(server, "VmHWM")
            note(f"{len(large)} HPAs of a megabyte: at most {peak / MIB:.0f} MiB")
            assert peak < 200 * MIB
            assert len(logged(server, "but with annotations of beanscale at most")) > 0
    finally:
        for each in (*large, name):
            cluster.delete(HPAS, "horizontalpodautoscalers", each)
