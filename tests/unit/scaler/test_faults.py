"""The scaler beside a kube-apiserver that fails, is slow, or is also used by another replica."""

import asyncio
import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import clock
from app.beanstalkd.poller import Poller
from app.beanstalkd.reading import ServerState, Snapshot
from app.hpa.obstacles import REASONS
from app.kube.certificates.renewal import KeyRing
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from app.metrics.rules import Rules
from app.scaler import hpas
from app.scaler.hpas import HpaWatcher
from app.scaler.scaler import Scaler
from tests.unit.console.moments import server, tube
from tests.unit.hpa.hpas import condition, external, hpa
from tests.unit.kube.apiserver import Answer, Apiserver, serving
from tests.unit.kube.conftest import cluster, service_account
from tests.unit.scaler.situations import with_put

__all__ = ["cluster", "service_account"]

HPAS = "/apis/autoscaling/v2/horizontalpodautoscalers?limit=500"
HPA = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/"
SCALE = "/apis/apps/v1/namespaces/shop/deployments/orders/scale"
PATCH = f"{SCALE}?fieldManager=beanscale"
EVENTS = "/api/v1/namespaces/shop/events"
BUSY = server(tube(ready=20))


class Cluster:
    """What kube-apiserver answers to the scaler."""

    def __init__(self, apiserver: Apiserver) -> None:
        self.apiserver = apiserver
        self.answer("/apis/apps", {"preferredVersion": {"groupVersion": "apps/v1"}})
        self.answer("/apis/apps/v1", {"resources": [{"name": "deployments", "kind": "Deployment"}]})
        self.answer(SCALE, {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 1}, "status": {"replicas": 1}})

    def answer(self, path: str, content: Any, status: int = 200, **more: Any) -> None:
        self.apiserver.answers[path] = Answer(status, json.dumps(content).encode(), **more)

    def have(self, *hpas: Any) -> None:
        self.answer(HPAS, {"items": hpas})
        for each in hpas:
            self.answer(HPA + each["metadata"]["name"], each)

    def requests(self, start: str) -> int:
        return sum(asked.line.startswith(start) for asked in self.apiserver.asked)

    def events(self) -> list[str]:
        sent = [json.loads(asked.body) for asked in self.apiserver.asked if asked.line.startswith(f"POST {EVENTS}")]
        return [each["message"] for each in sent]


@pytest.fixture
def shop(cluster: KeyRing, monkeypatch: pytest.MonkeyPatch) -> Iterator["Cluster"]:
    with serving(cluster.serving) as apiserver:  # of its own: the watch runs as long as the process lives
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(apiserver.port))
        yield Cluster(apiserver)


def run(service_account: Path, state: ServerState, within: Callable[[Scaler, Poller], Any]) -> None:
    """Run a scaler that reads `state` until the coroutine `within` ends."""

    async def scale() -> None:
        poller = Poller([], clock.now)
        poller.snapshot = Snapshot((fresh(state),))
        kubernetes = Kubernetes(find_credentials(None, None, service_account))
        scaler = Scaler(kubernetes, poller, Rules(), max_age_s=60, clock=clock.now)
        running = asyncio.create_task(scaler.run())
        try:
            await within(scaler, poller)
            assert not running.done()
        finally:
            running.cancel()
            # Its thread goes on, and the log is that of other tests.
            scaler.hpas.log_failure = lambda *_: None  # type: ignore[method-assign]

    asyncio.run(scale())


def fresh(state: ServerState) -> ServerState:
    """Return the state as read now."""
    assert state.reading is not None
    stats = [each._replace(answered_at=clock.now()) for each in state.reading.tubes.values()]
    reading = state.reading.of(state.reading.server_id, clock.now(), stats)
    return ServerState(state.server, reading, attempted=True)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def longest_block_s(within_s: float, spent_s: Callable[[], float]) -> float:
    """Return the most processor time that passed before the event loop came back."""
    gc.collect()
    gc.disable()  # a collection visits the objects of all tests
    try:
        longest, before = 0.0, spent_s()
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            await asyncio.sleep(0.01)
            longest, before = max(longest, spent_s() - before), spent_s()
        return longest
    finally:
        gc.enable()


def count(scaler: Scaler, reason: str) -> float:
    (found,) = (each for each in scaler.collect() if each.name == "beanscale_scaler_rejections")
    assert {each.labels["reason"] for each in found.samples} == set(REASONS)
    totals = {each.labels["reason"]: each.value for each in found.samples if each.name.endswith("_total")}
    return totals[reason]


def test_a_conflict_is_reported_only_if_it_lasts(shop: Cluster, service_account: Path) -> None:
    """Of two replicas that act at the same time, one has a conflict at each change."""
    shop.have(hpa(annotations={"immediate": "true"}))
    shop.answer(PATCH, {"code": 409, "message": "the object has been modified"}, 409)

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: shop.requests("PATCH") == 2)
        assert count(scaler, "conflict") == 0
        await until(lambda: count(scaler, "conflict") == 1)
        assert shop.requests("PATCH") == 3
        assert shop.events() == []

    run(service_account, BUSY, watch)


@pytest.mark.parametrize("jobs", [{"ready": 20}, {"ready": 4}, {}])
def test_a_slow_kube_apiserver_gets_the_number_of_the_newest_reading(
    jobs: dict[str, int], shop: Cluster, service_account: Path
) -> None:
    shop.have(hpa(annotations={"immediate": "true"}))
    shop.apiserver.answers[f"{HPA}orders"].delay_s = 1.5

    async def watch(_: Scaler, poller: Poller) -> None:
        await until(lambda: shop.requests(f"GET {HPA}") > 0)
        poller.snapshot = Snapshot((fresh(server(tube(**jobs))),))
        await until(lambda: shop.requests(f"GET {SCALE}") > 0)
        await asyncio.sleep(0.3)
        patches = [json.loads(asked.body) for asked in shop.apiserver.asked if asked.line.startswith("PATCH")]
        assert [each["spec"]["replicas"] for each in patches] == {20: [4], 4: [2], 0: []}[jobs.get("ready", 0)]

    run(service_account, BUSY, watch)


def test_a_job_that_was_put_meanwhile_keeps_the_pod(shop: Cluster, service_account: Path) -> None:
    shop.have(hpa(annotations={"scale-to-zero": "1s"}, conditions=[condition("AbleToScale", "ReadyForNewScale")]))
    shop.apiserver.answers[f"{HPA}orders"].delay_s = 2

    async def watch(_: Scaler, poller: Poller) -> None:
        idle = server(tube())
        while not shop.requests(f"GET {HPA}"):
            poller.snapshot = Snapshot((fresh(idle),))
            await asyncio.sleep(0.2)
        # A worker has already deleted it.
        poller.snapshot = Snapshot((fresh(with_put(idle, 1, 1)),))
        await until(lambda: shop.requests(f"GET {SCALE}") > 0)
        await asyncio.sleep(0.5)
        assert shop.requests("PATCH") == 0

    run(service_account, server(tube()), watch)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_denied_change_is_reported_with_its_cause(status: int, shop: Cluster, service_account: Path) -> None:
    shop.have(hpa(annotations={"immediate": "true"}))
    shop.answer(PATCH, {"code": status, "message": 'admission webhook "limits" denied the request'}, status)

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: bool(shop.events()))
        assert count(scaler, "forbidden" if status == 403 else "denied") == 1
        (message,) = shop.events()
        assert message.startswith("Deployment/orders isn't scaled by beanscale: ")
        assert 'admission webhook "limits" denied the request' in message
        assert "admission policy" in message

    run(service_account, BUSY, watch)


def test_a_change_that_is_changed_by_an_admission_webhook_is_not_repeated_every_second(
    shop: Cluster, service_account: Path
) -> None:
    shop.have(hpa(annotations={"immediate": "true"}))
    shop.answer(PATCH, {"metadata": {"resourceVersion": "8"}, "spec": {"replicas": 2}, "status": {"replicas": 1}})

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: bool(shop.events()))
        (message,) = shop.events()
        assert message.startswith(
            "Deployment/orders isn't scaled by beanscale: Deployment/orders has 2 pods after 4 were"
        )
        assert count(scaler, "denied") == 1
        await asyncio.sleep(6)
        assert shop.requests("PATCH") <= 4

    run(service_account, BUSY, watch)


def test_two_annotated_hpas_of_one_workload_scale_it_only_after_one_is_paused(
    shop: Cluster, service_account: Path
) -> None:
    """Else one could remove the pod that the other needs, every second."""
    first, second = (hpa(name=name, annotations={"immediate": "true"}) for name in ("orders", "copy"))
    shop.have(first, second)
    shop.answer(PATCH, {"metadata": {"resourceVersion": "8"}, "spec": {"replicas": 4}, "status": {"replicas": 1}})

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: len(shop.events()) == 2)
        for event, other in zip(sorted(shop.events()), ("copy", "orders"), strict=True):
            what = f"HPA {other} has beanscale annotations for the same workload; delete one of the two, or pause it"
            assert event == f"Deployment/orders isn't scaled by beanscale: {what}"
        assert (count(scaler, "shared_target"), shop.requests("PATCH")) == (2, 0)
        assert scaler.failures("shop").keys() == {"copy", "orders"}  # for explanations
        shop.have(first, hpa(name="copy", annotations={"immediate": "true", "paused": "true"}))
        await until(lambda: shop.requests("PATCH") > 0)

    run(service_account, BUSY, watch)


@pytest.mark.parametrize(
    ("annotations", "spec", "begin"),
    [
        ({"immediate": "true"}, {"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}, "up by beanscale: behavior."),
        ({"scale-to-zero": "5m"}, {"minimum": 2}, "to 0 by beanscale: beanscale/scale-to-zero requires minReplicas 1"),
    ],
)
def test_what_is_not_done_is_named(
    annotations: dict[str, str], spec: Any, begin: str, shop: Cluster, service_account: Path
) -> None:
    """The other annotation may still have its effect."""
    shop.have(hpa(annotations=annotations, **spec))

    async def watch(*_: object) -> None:
        await until(lambda: bool(shop.events()))
        assert shop.events()[0].startswith(f"Deployment/orders isn't scaled {begin}")

    run(service_account, server(tube()), watch)


@pytest.mark.parametrize(("status", "reason"), [(403, "forbidden"), (503, "unavailable")])
def test_failed_changes_delay_no_other(status: int, reason: str, shop: Cluster, service_account: Path) -> None:
    """Anyone who may create HPAs can let the scaler try what it isn't allowed to do, or what fails by itself."""
    many = [hpa(name=f"h{number}", annotations={"immediate": "true"}) for number in range(120)]
    for each in many:
        each["spec"]["scaleTargetRef"]["name"] = each["metadata"]["name"]
    other = hpa(external("tube-other", averageValue="2"), annotations={"immediate": "true"})
    shop.have(*many, other)
    shop.apiserver.answer = Answer(status, b"{}", delay_s=0.4)

    async def watch(scaler: Scaler, poller: Poller) -> None:
        await until(lambda: count(scaler, reason) == len(many))
        poller.snapshot = Snapshot((fresh(server(tube(ready=20), tube("other", ready=20))),))
        began = time.monotonic()
        await until(lambda: shop.requests(f"GET {SCALE}") > 0)
        assert time.monotonic() - began < 2.5

    run(service_account, BUSY, watch)


@pytest.mark.parametrize("status", [403, 503])
def test_many_hpas_that_failed_go_on_soon(status: int, shop: Cluster, service_account: Path) -> None:
    """Nor do they cost kube-apiserver much while they fail."""
    many = [hpa(name=f"h{number}", annotations={"immediate": "true"}) for number in range(60)]
    for each in many:
        each["spec"]["scaleTargetRef"]["name"] = each["metadata"]["name"]
    shop.have(*many)
    shop.apiserver.answer = Answer(status, b"{}")

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: count(scaler, "forbidden" if status == 403 else "unavailable") == len(many))
        before = shop.requests(f"GET {HPA}")
        await asyncio.sleep(3)
        assert 0 < shop.requests(f"GET {HPA}") - before < 150
        for each in many:
            name = each["metadata"]["name"]
            shop.apiserver.answers[SCALE.replace("orders", name)] = shop.apiserver.answers[SCALE]
            shop.answer(
                PATCH.replace("orders", name),
                {"metadata": {"resourceVersion": "8"}, "spec": {"replicas": 4}, "status": {"replicas": 1}},
            )
        await until(lambda: shop.requests("PATCH") >= len(many))

    run(service_account, BUSY, watch)


def test_no_namespace_displaces_the_hpas_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpas, "MAX_COST", 8)
    watcher = HpaWatcher()
    found = {}
    for name in ("a/1", "a/2", "a/3", "a/4", "z/1"):
        document = hpa(name=name[2:], annotations={"immediate": "true"})
        document["metadata"]["namespace"] = name[0]
        found[name] = watcher.parse(document)
    kept = watcher.limit({name: each for name, each in found.items() if each})
    assert kept.keys() == {"a/1", "a/2", "a/3", "z/1"}


def test_hpas_for_which_there_was_no_room_are_seen_once_there_is(
    shop: Cluster, service_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take no memory meanwhile, however many there are."""
    monkeypatch.setattr(hpas, "MAX_COST", 8)
    monkeypatch.setattr("app.kube.watcher._FIRST_RETRY_S", 0.1)
    shop.have(*(hpa(name=f"h{number}", annotations={"immediate": "true"}) for number in range(9)))

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: len(scaler.hpas.current) == 4)
        shop.have(hpa(name="last", annotations={"immediate": "true"}))
        await until(lambda: scaler.hpas.current.keys() == {"shop/last"})

    run(service_account, server(tube()), watch)


@pytest.mark.parametrize(
    ("metrics", "begin"),
    [
        (
            [external(f"tube-t{number}", averageValue="2") for number in range(5000)],
            "the HPA has 5,000 metrics, but with annotations of beanscale at most 100;",
        ),
        (
            [external("x" * 500_000, averageValue="2")],
            "the HPA's target and metrics have 500,020 characters, but",
        ),
        (
            [external("tube-t", {"matchLabels": {"x" * 40_000: ""}}, averageValue="2")],
            "the HPA's target and metrics have",
        ),
    ],
)
def test_an_hpa_that_is_too_large_is_reported_and_blocks_nothing(
    metrics: list[Any], begin: str, shop: Cluster, service_account: Path
) -> None:
    """Kubernetes accepts HPAs of a megabyte, of any author."""
    large = [hpa(*metrics, name=f"h{number}", annotations={"immediate": "true"}) for number in range(5)]
    for each in large:
        each["spec"]["scaleTargetRef"]["name"] = each["metadata"]["name"]
    shop.have(*large)
    many = server(*(tube(f"t{number}", ready=20) for number in range(1000)))

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: len(shop.events()) == len(large))
        assert all(f"isn't scaled by beanscale: {begin}" in each for each in shop.events())
        assert count(scaler, "invalid_annotation") == len(large)
        assert await longest_block_s(2, time.thread_time) < 0.05

    run(service_account, many, watch)


def test_an_hpa_cannot_report_any_number_of_annotations(shop: Cluster, service_account: Path) -> None:
    shop.have(hpa(annotations={f"x{number}": "" for number in range(5000)}))

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: bool(shop.events()))
        await asyncio.sleep(0.5)
        assert count(scaler, "invalid_annotation") == len(shop.events()) == 3

    run(service_account, server(tube()), watch)


def test_each_invalid_annotation_is_reported(shop: Cluster, service_account: Path) -> None:
    """Also the next one, after the first is corrected."""
    shop.have(hpa(annotations={"immediate": "yes", "paused": "no"}))

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: len(shop.events()) == 2)
        shop.have(hpa(annotations={"immediate": "true", "activation": "-1"}))
        await until(lambda: len(shop.events()) == 3)
        assert "annotation beanscale/activation is '-1'" in shop.events()[-1]
        assert count(scaler, "invalid_annotation") == 3

    run(service_account, BUSY, watch)


def test_metrics_of_many_tubes_do_not_block_the_event_loop(shop: Cluster, service_account: Path) -> None:
    everything = external("beanstalkd_tube_jobs", averageValue="2")
    many = [hpa(everything, name=f"h{number}", annotations={"scale-to-zero": "5m"}) for number in range(3)]
    for each in many:
        each["spec"]["scaleTargetRef"]["name"] = each["metadata"]["name"]
    shop.have(*many)

    async def watch(_: Scaler, __: Poller) -> None:
        assert await longest_block_s(4, time.process_time) < 0.3

    run(service_account, server(*(tube(f"t{number}") for number in range(10_000))), watch)


@pytest.mark.parametrize("tubes", [90, 150])
def test_hpas_of_many_tubes_delay_those_of_no_other_namespace(tubes: int, shop: Cluster, service_account: Path) -> None:
    """All of them take minutes."""
    everything = [external("beanstalkd_tube_jobs", averageValue="1k") for _ in range(80)]
    hpas = [hpa(*everything, name=f"h{number}", annotations={"immediate": "true"}) for number in range(100)]
    # The last one, in both orders.
    hpas.append(hpa(everything[0], external(averageValue="2"), name="z", annotations={"immediate": "true"}))
    for each in hpas:
        each["spec"]["scaleTargetRef"]["name"] = each["metadata"]["name"]
        each["metadata"]["namespace"] = "zoo" if each["metadata"]["name"] == "z" else "shop"
    shop.have(*hpas)
    idle = [tube(f"t{number}") for number in range(tubes)]

    async def watch(scaler: Scaler, poller: Poller) -> None:
        await until(lambda: len(scaler.hpas.current) == len(hpas))
        await asyncio.sleep(2)
        poller.snapshot = Snapshot((fresh(server(*idle, tube(ready=20))),))
        began = time.monotonic()
        await until(lambda: shop.requests("GET /apis/autoscaling/v2/namespaces/zoo/") > 0)
        assert time.monotonic() - began < 12

    run(service_account, server(*idle), watch)


def test_an_hpa_of_many_metrics_does_not_block_the_event_loop(shop: Cluster, service_account: Path) -> None:
    everything = [external("beanstalkd_tube_jobs", averageValue="1k") for _ in range(100)]
    shop.have(hpa(*everything, annotations={"immediate": "true"}))

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: len(scaler.hpas.current) == 1)
        assert await longest_block_s(2, time.thread_time) < 0.05

    run(service_account, server(*(tube(f"t{number}") for number in range(90))), watch)


def test_many_hpas_take_turns_with_the_event_loop(shop: Cluster, service_account: Path) -> None:
    many = []
    for number in range(100):
        metrics = (external(f"tube-t{at}", averageValue="2") for at in range(100))
        many.append(hpa(*metrics, name=f"h{number}", annotations={"immediate": "true"}))
        many[-1]["spec"]["scaleTargetRef"]["name"] = f"h{number}"
    shop.have(*many)

    async def watch(scaler: Scaler, _: Poller) -> None:
        await until(lambda: len(scaler.hpas.current) == len(many))
        assert await longest_block_s(3, time.thread_time) < 0.05

    run(service_account, server(tube()), watch)


def test_each_of_many_such_hpas_is_evaluated_often(shop: Cluster, service_account: Path) -> None:
    """A pattern of a rule covers many tubes if beanstalkd has many, even if few match."""
    everything = external("beanstalkd_tube_jobs", averageValue="1k")
    many = [hpa(everything, name=f"h{number}", annotations={"immediate": "true"}) for number in range(60)]
    for each in many:
        each["spec"]["scaleTargetRef"]["name"] = each["metadata"]["name"]
    shop.have(*many)
    tubes = [tube(f"t{number}") for number in range(150)]

    async def watch(scaler: Scaler, poller: Poller) -> None:
        await until(lambda: len(scaler.hpas.current) == len(many))
        await asyncio.sleep(1)
        poller.snapshot = Snapshot((fresh(server(*tubes, tube("busy", ready=3000))),))
        await until(lambda: shop.requests(f"GET {HPA}") >= len(many))

    run(service_account, server(*tubes), watch)


def test_pauses_grow_while_each_watch_ends_at_once(shop: Cluster, service_account: Path) -> None:
    """A list of thousands of objects costs kube-apiserver much more than a watch."""
    shop.have()
    HpaWatcher().start(Kubernetes(find_credentials(None, None, service_account)))
    time.sleep(4)
    assert 1 < shop.requests(f"GET {HPAS}") <= 5
