"""The scaler never sets more pods than the HPA controller would at its next sync: random HPAs and loads, with twins.

A twin is the same HPA, created at the same time, for a workload of its own, that the scaler doesn't touch. What the HPA
controller decides for it at its next sync is the limit of what the scaler may have set for the other.
"""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import greenstalk
import pytest

from tests.beanstalkd.conftest import Beanstalkd
from tests.scaler.cluster import CPU, FLEETS, HPAS, SYNC_S, Cluster, Json, Versions, eventually, external, minor_version
from tests.scaler.conftest import Note
from tests.scaler.proxy import proxied

pytestmark = pytest.mark.timeout(900)

PAIRS = 110
MAX_ROUNDS = 4
MAX_PERIOD_S = 25
"""Of the policies."""
MIN_DECISIONS = 200
WATCHED_S = 22
"""After the last jobs: more than a sync."""
LATE_S = 1.0
"""A sync that ends this soon after a patch read the metric before it."""
SLACK_S = 15.0
"""A sync may be that late: hundreds of HPAs that change at once keep the controller busy."""


@dataclass(frozen=True)
class Spec:
    """One random HPA, its workload's start, and when how many jobs are put."""

    number: int
    minimum: int
    maximum: int
    metrics: tuple[Json, ...]
    behavior: Json | None
    replicas: int
    loads: tuple[tuple[float, int], ...]
    """Seconds after the start, and jobs."""

    @property
    def name(self) -> str:
        return f"random-{self.number}"


def random_spec(number: int, chance: random.Random, *, tolerance: bool) -> Spec:
    """Return a valid spec; `tolerance`: this Kubernetes knows that field."""

    def rules() -> Json:
        made: Json = {"stabilizationWindowSeconds": chance.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 30))}
        if chance.random() < 0.8:
            made["policies"] = [
                {"type": "Pods", "value": chance.randint(1, 8), "periodSeconds": chance.randint(1, MAX_PERIOD_S)}
                if chance.random() < 0.5
                else {
                    "type": "Percent",
                    "value": chance.choice((10, 50, 100, 300)),
                    "periodSeconds": chance.randint(1, MAX_PERIOD_S),
                }
                for _ in range(chance.randint(1, 3))
            ]
            made["selectPolicy"] = chance.choice(("Max", "Max", "Max", "Max", "Min", "Min", "Disabled"))
        if tolerance and chance.random() < 0.5:
            made["tolerance"] = chance.choice(("0", "50m", "300m", "600m", "1"))
        return made

    maximum = chance.randint(2, 40)
    minimum = chance.randint(1, min(3, maximum))
    name = f"tube-random-{number}"
    kind = "Value" if chance.random() < 0.1 else "AverageValue"
    metrics = [external(name, chance.choice(("500m", "1", "1500m", "2", "3", "10")), kind)]
    match chance.randint(1, 12):
        case 1:
            metrics.append(external("tube-random-none", "1"))
        case 2:
            metrics.append(external("tube-no*such", "1"))  # fails
        case 3:
            metrics.append(CPU)
    behavior: Json | None = None
    if chance.random() < 0.7:
        behavior = {way: rules() for way in ("scaleUp", "scaleDown") if chance.random() < 0.8} or {"scaleUp": rules()}
    loads = [(chance.uniform(0, SYNC_S), chance.randint(5, 60))]
    if chance.random() < 0.3:
        loads.append((loads[-1][0] + chance.uniform(1, 10), chance.randint(1, 40)))
    return Spec(number, minimum, maximum, tuple(metrics), behavior, chance.randint(1, 4), tuple(loads))


@pytest.fixture(scope="module")
def patches(
    cluster: Cluster, source: Beanstalkd, pki: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[float, str, int]]]:
    """The scaler's patches, as they happen."""
    with (
        proxied(cluster.kubeconfig, pki, tmp_path_factory.mktemp("proxied")) as (wire, kubeconfig),
        cluster.server(f"{source.host}:{source.port}", kubeconfig=kubeconfig),
    ):
        yield wire.patched


def create(cluster: Cluster, spec: Spec) -> None:
    for name, annotations in ((spec.name, {"immediate": "true"}), (f"{spec.name}-twin", {})):
        cluster.fleet(name, spec.replicas)
        cluster.hpa(
            name, *spec.metrics, minimum=spec.minimum, maximum=spec.maximum, behavior=spec.behavior, **annotations
        )


def remove(cluster: Cluster, spec: Spec) -> None:
    for name in (spec.name, f"{spec.name}-twin"):
        cluster.delete(HPAS, "horizontalpodautoscalers", name)
        cluster.delete(FLEETS, "fleets", name)


@dataclass(frozen=True)
class Seen:
    """What happened in a round."""

    fleets: Versions
    hpas: Versions


def is_synced(hpas: Versions, spec: Spec) -> bool:
    both = (hpas.seen.get(name) for name in (spec.name, f"{spec.name}-twin"))
    return all(seen and seen[-1][1].get("status", {}).get("conditions") for seen in both)


def put_all(source: Beanstalkd, specs: list[Spec]) -> None:
    start = time.monotonic()
    due = sorted((at, spec.number, jobs) for spec in specs for at, jobs in spec.loads)
    with greenstalk.Client((source.host, source.port), encoding=None) as client:
        for at, number, jobs in due:
            time.sleep(max(0.0, start + at - time.monotonic()))
            client.use(f"random-{number}")
            for _ in range(jobs):
                client.put(b"waits")


def at(changes: list[tuple[float, int, str]], when: float) -> int:
    """Return the number of pods at that time."""
    return [number for changed_at, number, _ in changes if changed_at <= when][-1]


def increased(changes: list[tuple[float, int, str]], when: float) -> bool:
    """Return whether the number of pods was increased within the longest period of a policy, and a sync."""
    return any(
        when - MAX_PERIOD_S - SYNC_S < later[0] < when - 0.2 and later[1] > earlier[1]
        for earlier, later in pairwise(changes)
    )


@dataclass
class Comparison:
    """The scaler's patches, and the controller's decisions for the twins."""

    patches: int = 0
    compared: int = 0
    """Those for which both decisions start from the same: as many pods as the twin, and no earlier increase that counts
    for a scaling policy. The HPA controller counts only its own, a sync later than those of the scaler."""
    exceeding: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    """Patches after which the controller removed pods at its next sync, although no job was taken."""
    ahead: int = 0
    """How often the controller added pods at its next sync to those of a patch, which it doesn't know."""


def compare(spec: Spec, patched: list[tuple[float, int]], seen: Seen, comparison: Comparison) -> None:
    own, twin = seen.fleets.replicas(spec.name), seen.fleets.replicas(f"{spec.name}-twin")
    syncs = [when for when, _ in seen.hpas.seen[f"{spec.name}-twin"]]
    for when, pods in patched:
        comparison.patches += 1
        following = [sync for sync in syncs if sync > when + LATE_S]
        next_sync = min(following[0] if following else when + SYNC_S, when + SYNC_S + SLACK_S) + 0.3
        limit, later = at(twin, next_sync), at(own, next_sync)
        told = f"{pods} pods at {when:.1f}, next sync at {next_sync:.1f}: {spec}\nown {own}\ntwin {twin}\nsyncs {syncs}"
        if later < pods:
            comparison.removed.append(told)
        if at(own, when - 0.2) == at(twin, when) and not increased(own, when) and not increased(twin, when):
            comparison.compared += 1
            if pods > limit:
                comparison.exceeding.append(told)
            elif later > limit:
                comparison.ahead += 1


def test_no_patch_exceeds_the_controllers_decision_at_its_next_sync(
    cluster: Cluster, source: Beanstalkd, patches: list[tuple[float, str, int]], note: Note
) -> None:
    seed = time.time_ns() % 2**32
    chance = random.Random(seed)  # noqa: S311 - chooses test cases
    tolerance = minor_version(cluster.kubernetes) >= 35
    comparison = Comparison()
    for started in range(0, MAX_ROUNDS * PAIRS, PAIRS):
        specs = [random_spec(started + number, chance, tolerance=tolerance) for number in range(PAIRS)]
        cluster.allow(*(spec.name for spec in specs))
        with (
            Versions(cluster.kubernetes, cluster.path(FLEETS, "fleets")) as fleets,
            Versions(cluster.kubernetes, cluster.path(HPAS, "horizontalpodautoscalers")) as hpas,
            ThreadPoolExecutor(8) as pool,
        ):
            list(pool.map(lambda spec: create(cluster, spec), specs))
            eventually(lambda: all(is_synced(hpas, spec) for spec in specs), "the first sync of each HPA", 60)  # noqa: B023
            put_all(source, specs)
            time.sleep(WATCHED_S)
            for spec in specs:
                path = f"{cluster.path(FLEETS, 'fleets', spec.name)}/scale"
                patched = [(when, pods) for when, patched, pods in patches if patched == path]
                compare(spec, patched, Seen(fleets, hpas), comparison)
            list(pool.map(lambda spec: remove(cluster, spec), specs))
        if comparison.compared >= MIN_DECISIONS:
            break
    note(
        f"seed {seed}: {comparison.patches} patches for {started + PAIRS} random HPAs; {comparison.compared} compared"
        f" with the controller's decision for a twin: {len(comparison.exceeding)} exceed it; after"
        f" {comparison.ahead} the controller added more pods, after {len(comparison.removed)} it removed some"
    )
    assert not comparison.exceeding, "\n\n".join(comparison.exceeding[:5])
    assert not comparison.removed, "\n\n".join(comparison.removed[:5])
    assert comparison.compared >= MIN_DECISIONS
