"""Asks kube-apiserver for the autoscalers: all of them every few seconds, one in depth while somebody looks at it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from app.autoscaling.autoscaler import Autoscaler
from app.autoscaling.quantity import QuantityError
from app.autoscaling.reading import read
from app.clock import Instant
from app.cluster.client import Kubernetes
from app.cluster.errors import KubernetesError
from app.console.autoscalers import Judged, Known, Look, look_at
from app.console.events import Event, of_autoscalers
from app.explaining.gathering import Facts, Gathered, gather_autoscaler
from app.metrics.question import Evaluation
from app.settings import ObjectName

LOOK_EVERY_S = 5.0
FACTS_AGE_S = 2.0
"""For so long what was gathered of one autoscaler serves every page that shows it."""
MOST_FACTS = 50
_MOST_AT_ONCE = 500

type Json = dict[str, Any]


@dataclass(eq=False)
class _Gathering:
    begun_s: float
    task: asyncio.Task[Facts]


@dataclass(eq=False)
class Watcher:
    """Keeps `known` current while `run` runs."""

    kubernetes: Kubernetes | None
    namespaces: Sequence[str]
    """Empty: all."""
    known: Known
    given: Callable[[], Evaluation]
    tell: Callable[[Sequence[Event]], None]
    clock: Callable[[], Instant]
    _gatherings: OrderedDict[ObjectName, _Gathering] = field(default_factory=OrderedDict, init=False)

    async def run(self) -> None:
        """Until cancelled; at once over where there is no cluster to ask."""
        while self.kubernetes is not None:
            await self._look(self.kubernetes)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, kubernetes: Kubernetes) -> None:
        given = self.given()
        try:
            look = await asyncio.to_thread(_look, kubernetes, self.namespaces, given)
        except KubernetesError as error:
            self.known.fail(str(error), self.clock().unix_s)
            return
        now_s = self.clock().unix_s
        before = [each.autoscaler for each in self.known.look.judged]
        self.tell(list(of_autoscalers(before, [each.autoscaler for each in look.judged], now_s)))
        self.known.take(look, now_s, self._asked())

    async def facts(self, judged: Judged) -> Facts:
        """All there is to say about one autoscaler, a moment old at most; asked for once, however many wait for it."""
        now_s = self.clock().monotonic_s
        current = self._gatherings.get(judged.name)
        if current is None or (current.task.done() and now_s - current.begun_s > FACTS_AGE_S):
            if self.kubernetes is None:
                raise LookupError("there is no cluster")
            work = asyncio.to_thread(gather_autoscaler, self.kubernetes, judged.autoscaler)
            current = self._gatherings[judged.name] = _Gathering(now_s, asyncio.create_task(work))
            self._gatherings.move_to_end(judged.name)
            if len(self._gatherings) > MOST_FACTS:
                self._gatherings.popitem(last=False)
        return await asyncio.shield(current.task)

    def _asked(self) -> Mapping[ObjectName, Gathered]:
        """What was gathered since the last look."""
        now_s = self.clock().monotonic_s
        return {
            name: each.task.result().autoscalers[0]
            for name, each in self._gatherings.items()
            if now_s - each.begun_s <= LOOK_EVERY_S and each.task.done() and each.task.exception() is None
        }

    @property
    def cluster_now_s(self) -> float:
        """Unix seconds on the cluster's clock."""
        ahead_s = self.kubernetes.clock_ahead_s if self.kubernetes else 0.0
        return self.clock().unix_s - ahead_s


def _look(kubernetes: Kubernetes, namespaces: Sequence[str], given: Evaluation) -> Look:
    """Blocking. Raises KubernetesError."""
    return look_at((each for path in _paths(namespaces) for each in _list(kubernetes, path)), given)


def _paths(namespaces: Sequence[str]) -> list[str]:
    group, plural = "/apis/autoscaling/v2", "horizontalpodautoscalers"
    if not namespaces:
        return [f"{group}/{plural}"]
    return [f"{group}/namespaces/{quote(namespace, safe='')}/{plural}" for namespace in namespaces]


def _list(kubernetes: Kubernetes, path: str) -> Iterator[Autoscaler]:
    """All of them, so many at a time. Raises KubernetesError."""
    more: str | None = ""
    while more is not None:
        listed = kubernetes.request("GET", path, query={"limit": _MOST_AT_ONCE, **({"continue": more} if more else {})})
        try:
            yield from map(read, listed.get("items") or ())
        except (KeyError, TypeError, ValueError, QuantityError) as error:
            raise KubernetesError(f"{kubernetes.server} lists an autoscaler that makes no sense: {error!r}") from error
        more = (listed.get("metadata") or {}).get("continue") or None
