"""Which changes the scaler makes over time, by a kube-apiserver of one HPA and its workload."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.beanstalkd.poller import Poller
from app.beanstalkd.reading import Snapshot
from app.kube.errors import KubernetesError
from app.metrics.rules import Rules
from app.scaler.hpas import read_hpa
from app.scaler.scaler import Scaler
from app.settings import Server
from tests.unit.console.moments import MAX_AGE_S, at, server, tube
from tests.unit.hpa.hpas import condition, external, hpa
from tests.unit.scaler.situations import BOTH

Json = dict[str, Any]
HPA = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/orders"
SCALE = "/apis/apps/v1/namespaces/shop/deployments/orders/scale"


class World:
    """Used like app.kube.client.Kubernetes, with the scaler that uses it."""

    server = "https://k"

    def __init__(self, document: Json, replicas: int = 1) -> None:
        self.document = document
        self.replicas = replicas
        self.version = 1
        self.refused: dict[str, int] = {}
        """Method and path to the status of the error."""
        self.asked: list[str] = []
        self.patches: list[int] = []
        self.events: list[str] = []
        self.second = 0.0
        self.poller = Poller([Server("eu", "eu.example", 11300)], lambda: at(self.second))
        self.scaler = Scaler(
            self,  # type: ignore[arg-type] # used like one
            self.poller,
            Rules(),
            max_age_s=MAX_AGE_S,
            clock=lambda: at(self.second),
        )
        self.scaler.hpas.error = None

    def server_time(self, now: Any) -> datetime:
        return datetime.fromtimestamp(now.unix_s, UTC)

    def request(self, method: str, path: str, *, body: Any = None, **_: object) -> Mapping[str, Any]:
        self.asked.append(f"{method} {path}")
        if status := self.refused.get(f"{method} {path}"):
            raise KubernetesError(f"answered {method} {path} with {status}: no", status=status)
        match method, path:
            case "GET", "/apis/apps":
                return {"preferredVersion": {"groupVersion": "apps/v1"}}
            case "GET", "/apis/apps/v1":
                return {"resources": [{"name": "deployments", "kind": "Deployment"}]}
            case "GET", _ if path == HPA:
                return self.document
            case "PATCH", _:
                if body["metadata"]["resourceVersion"] != str(self.version):
                    raise KubernetesError("the object has been modified", status=409)
                self.replicas, self.version = body["spec"]["replicas"], self.version + 1
                self.patches.append(self.replicas)
            case "POST", _:
                self.events.append(body["message"])
                return {}
        return {
            "metadata": {"resourceVersion": str(self.version)},
            "spec": {"replicas": self.replicas},
            "status": {"replicas": self.replicas},
        }

    async def read(self, second: float, *, put: int = 0, **jobs: int) -> list[int]:
        """Evaluate one reading; return the changes."""
        self.second, before = second, len(self.patches)
        state = server(tube(**jobs)._replace(total_jobs=put), second=second)
        self.poller.snapshot = Snapshot((state,))
        await self.evaluate()
        return self.patches[before:]

    async def evaluate(self) -> None:
        hpa = read_hpa(self.document)
        known = self.scaler.hpas.current.get("shop/orders")
        if hpa != known:
            self.scaler.hpas.current = {"shop/orders": hpa} if hpa else {}
        await self.scaler.evaluate_all()
        await asyncio.gather(*self.scaler.running)


def document(*, current: int | None = 1, annotations: Mapping[str, str] = BOTH, **fields: Any) -> Json:
    """Return an annotated HPA; without `current`, one that the controller hasn't synced."""
    fields = {"conditions": [condition("AbleToScale", "ReadyForNewScale")]} | fields if current is not None else fields
    made = hpa(current=current or 0, **fields)
    made["metadata"] |= {"annotations": dict(annotations), "uid": "u"}
    return made


async def test_pods_of_a_new_hpa_were_there_before() -> None:
    """Only what may have been added by the scaler or the controller counts for the policies."""
    world = World(document())
    world.document = {}
    world.scaler.hpas.current = {}
    await world.scaler.evaluate_all()
    world.document, world.replicas = document(current=None, minimum=2), 3
    await world.read(1, ready=12)
    world.document = document(current=3, minimum=2)
    assert await world.read(2, ready=12) == [6]


async def test_after_a_start_all_pods_may_have_been_added_just_now() -> None:
    world = World(document(current=3, minimum=2), replicas=3)
    assert await world.read(1, ready=30) == [4]
    assert await world.read(31, ready=30) == []
    assert await world.read(33, ready=30) == [8]


async def test_the_idle_time_begins_with_the_reply_that_shows_the_last_job() -> None:
    """The listing beside it may be older: the job may still have been there then."""
    world = World(document(annotations={"beanscale/scale-to-zero": "10s"}))
    listed = server(tube(), second=0)
    assert listed.reading is not None

    async def read(second: float, listed_before_s: float = 0.0) -> list[int]:
        world.second, before = second, len(world.patches)
        tubes = {"orders": tube(second=second)._replace(total_jobs=1, cmd_delete=1)}
        old = replace(listed, reading=replace(listed.reading, tubes=tubes, listed_at=at(second - listed_before_s)))
        world.poller.snapshot = Snapshot((old,))
        await world.evaluate()
        return world.patches[before:]

    assert await read(1, listed_before_s=0.9) == []
    assert await read(10.9) == []
    assert await read(11) == [0]


async def test_a_job_between_two_readings_begins_the_idle_time_again() -> None:
    world = World(document(annotations={"beanscale/scale-to-zero": "10s"}))
    assert await world.read(0) == []
    assert await world.read(9, put=1) == []
    assert await world.read(18) == []


async def test_an_edit_of_the_hpa_does_not_bring_back_the_pods_of_its_last_sync() -> None:
    """Until the next sync, the status shows the pod that beanscale removed."""
    annotations = {"beanscale/scale-to-zero": "10s"}
    world = World(document(annotations=annotations))
    assert await world.read(0) == []
    assert await world.read(10) == [0]
    world.document = document(annotations=annotations | {"beanscale/activation": "1"})
    assert await world.read(12, put=2, ready=2) == [1]


async def test_an_hpa_that_is_edited_while_many_tubes_are_evaluated() -> None:
    many = external("beanstalkd_tube_jobs", averageValue="2")
    world = World(document())
    world.poller.snapshot = Snapshot((server(*(tube(f"t{number}", ready=1) for number in range(200))),))
    for metrics in ([many], [many, many]):
        edited = document()
        edited["spec"]["metrics"] = metrics
        world.document = edited
        await world.evaluate()
        await asyncio.sleep(0)  # the first evaluation is in its thread now
    while not world.patches:
        await world.evaluate()
        await asyncio.sleep(0.02)
    assert not any("internal error" in each for each in world.events)


async def test_the_idle_time_begins_with_the_pod_that_another_replica_added() -> None:
    """That replica may have seen a job that came and went between two readings of this one."""
    annotations = {"beanscale/scale-to-zero": "10s"}
    world = World(document(current=0, annotations=annotations), replicas=0)
    for second in range(60):
        assert await world.read(second) == []
    world.document, world.replicas = document(current=1, annotations=annotations), 1
    assert await world.read(60) == []
    assert await world.read(69.9) == []
    assert await world.read(70) == [0]
