"""The cluster's autoscalers that go by external metrics: as last listed, with their last hour. No I/O.

While nobody looks at an autoscaler, its metric's value comes from the console's own readings and the same rules.

Which tubes an autoscaler goes by. Pure.

Asks kube-apiserver for the autoscalers: all of them every few seconds, one in depth while somebody looks at it.

One autoscaler as JSON: why it does or doesn't scale, and what another target would make of it. Pure.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from app.clock import Instant
from app.console.errors import RequestError
from app.console.events import Event, of_autoscalers
from app.console.history import ReplicaTrack
from app.explain.collect import Collected, CollectedAutoscaler, collect_autoscaler
from app.explain.report import make_report, report_json
from app.hpa.autoscaler import EXTERNAL, Autoscaler, Metric, parse_hpa
from app.hpa.decision import Decision, Missing, NotQueried, Observed, Total, decide, with_target
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.metrics.metric import Evaluation, MetricError, Question, UnknownMetricError
from app.metrics.resolve import demanded, evaluate
from app.metrics.rules import Glob
from app.metrics.selector import SelectorError, parse_selector
from app.quantity import QuantityError, milli, parse_quantity, plain
from app.settings import ObjectName


@dataclass(frozen=True, slots=True)
class AutoscalerLink:
    """An autoscaler and the tubes of one of its metrics."""

    autoscaler: ObjectName
    tubes: Glob
    servers: frozenset[str] | None = None
    """By name; None: all."""

    def is_about(self, server: str, tube: str) -> bool:
        """Whether the autoscaler goes by this tube."""
        return (self.servers is None or server in self.servers) and self.tubes.matches(tube)


def question_of(autoscaler: Autoscaler, metric: Metric) -> Question | None:
    """What it asks for; None of a metric that isn't external, or whose selector nobody understands."""
    if metric.source != EXTERNAL:
        return None
    try:
        return Question(metric.name, autoscaler.namespace, parse_selector(metric.selector))
    except SelectorError:
        return None


def links_of(autoscalers: Iterable[Autoscaler], given: Evaluation) -> Sequence[AutoscalerLink]:
    """All of them. Those that go by every tube there is, are about none."""
    return [link for autoscaler in autoscalers for link in _links(autoscaler, given)]


def _links(autoscaler: Autoscaler, given: Evaluation) -> Iterator[AutoscalerLink]:
    name = ObjectName(autoscaler.namespace, autoscaler.name)
    for metric in autoscaler.metrics:
        question = question_of(autoscaler, metric)
        if question is None:
            continue
        rule = given.rules.asked_by(question.namespace, question.metric.lower())
        if rule is not None and "*" not in rule.tubes.patterns:
            yield AutoscalerLink(name, rule.tubes, rule.servers)
        elif tubes := demanded(question, given).tubes:
            yield AutoscalerLink(name, Glob(tuple(tubes)))


MOST_AUTOSCALERS = 500

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """One autoscaler, by our own readings."""

    autoscaler: Autoscaler
    seen: tuple[Observed, ...]
    """Of each of its metrics."""
    decision: Decision

    @property
    def name(self) -> ObjectName:
        """NAMESPACE/NAME."""
        return ObjectName(self.autoscaler.namespace, self.autoscaler.name)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the cluster found."""

    judged: tuple[Judged, ...]
    links: Sequence[AutoscalerLink]


def look_at(autoscalers: Iterable[Autoscaler], given: Evaluation) -> Look:
    """Judge those that have an external metric; may take a while where metrics span very many tubes."""
    ours = [each for each in autoscalers if first_external(each) is not None][:MOST_AUTOSCALERS]
    return Look(tuple(_judged(each, given) for each in ours), links_of(ours, given))


def _judged(autoscaler: Autoscaler, given: Evaluation) -> Judged:
    seen = tuple(_seen(autoscaler, metric, given) for metric in autoscaler.metrics)
    return Judged(autoscaler, seen, decide(autoscaler, autoscaler.scale, seen, given.now.unix_s))


def _seen(autoscaler: Autoscaler, metric: Metric, given: Evaluation) -> Observed:
    question = question_of(autoscaler, metric)
    if question is None:
        return NotQueried()
    try:
        return Total(sum(milli(parse_quantity(value.quantity)) for value in evaluate(question, given)))
    except UnknownMetricError:
        return NotQueried()  # another adapter's, or a rule that this console wasn't given
    except MetricError as error:
        return Missing(str(error))


def first_external(autoscaler: Autoscaler) -> int | None:
    """The position of the metric that charts are about."""
    return next((at for at, metric in enumerate(autoscaler.metrics) if metric.source == EXTERNAL), None)


class Known:
    """All of them."""

    def __init__(self, why: str | None) -> None:
        self.why = why
        """Why they aren't known, or not any more: a sentence."""
        self.look = Look((), ())
        self._tracks: dict[ObjectName, ReplicaTrack] = {}

    def take(
        self, look: Look, now_s: float, asked: Mapping[ObjectName, CollectedAutoscaler] = MappingProxyType({})
    ) -> None:
        """A new look; who isn't there any more is forgotten. `asked`: what was just gathered of some of them, which is
        nearer to the truth: the metric as served, and the workload's own pods.
        """
        self.look, self.why = look, None
        self._tracks = {each.name: self._tracks.get(each.name) or ReplicaTrack() for each in look.judged}
        for each in look.judged:
            known = asked.get(each.name)
            value, target = _value_and_target(each.autoscaler, known.observed if known else each.seen)
            present = (known.scale if known else each.autoscaler.scale).status_replicas
            self._tracks[each.name].add(now_s, value, target, each.autoscaler.desired, present)

    def fail(self, why: str, now_s: float) -> None:
        """The cluster couldn't be asked: what is new isn't known."""
        self.why = why
        for track in self._tracks.values():
            track.add(now_s, None, None, None, None)

    def find(self, name: ObjectName) -> Judged | None:
        """One of them."""
        return next((each for each in self.look.judged if each.name == name), None)

    def series(self, name: ObjectName) -> Json | None:
        """Its last hour as JSON; None where there is no such autoscaler."""
        found = self.find(name)
        if found is None:
            return None
        _, target = _value_and_target(found.autoscaler, found.seen)
        return {
            "namespace": name.namespace,
            "name": name.name,
            **self._tracks[name].series(),
            "target": target,
            "min": found.autoscaler.minimum,
            "max": found.autoscaler.maximum,
        }

    def listed(self, now_s: float) -> Json:
        """All of them as JSON."""
        return {
            "now": round(now_s, 3),
            "available": self.why is None,
            "why": self.why,
            "autoscalers": [_listed(each) for each in self.look.judged],
        }


def _value_and_target(autoscaler: Autoscaler, seen: Sequence[Observed]) -> tuple[float | None, float | None]:
    position = first_external(autoscaler)
    if position is None:
        return None, None
    value, target = seen[position], autoscaler.metrics[position].target.amount / 1000
    return (value.amount / 1000 if isinstance(value, Total) else None), target


def _listed(judged: Judged) -> Json:
    autoscaler = judged.autoscaler
    return {
        "namespace": autoscaler.namespace,
        "name": autoscaler.name,
        "target": str(autoscaler.workload),
        "metrics": [
            {
                "name": metric.name,
                "selector": metric.selector,
                "total": plain(seen.amount) if isinstance(seen, Total) else None,
                "target": {"type": metric.target.kind.value, "amount": plain(metric.target.amount)},
            }
            for metric, seen in zip(autoscaler.metrics, judged.seen, strict=True)
        ],
        "current": autoscaler.scale.status_replicas,
        "desired": autoscaler.desired,
        "min": autoscaler.minimum,
        "max": autoscaler.maximum,
        "sentence": _sentence(judged),
    }


def _sentence(judged: Judged) -> str:
    decision = judged.decision
    return f"{decision.change_from(judged.autoscaler.scale.spec_replicas)}: {decision.decided_by.sentence}"


LOOK_EVERY_S = 5.0
FACTS_AGE_S = 2.0
"""For so long what was gathered of one autoscaler serves every page that shows it."""
MOST_FACTS = 50
_MOST_AT_ONCE = 500


@dataclass(eq=False)
class _Gathering:
    begun_s: float
    task: asyncio.Task[Collected]


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
    thread: Executor
    """The pages' thread, which alone reads and writes `known`'s tracks."""
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
            await self._store(self.known.fail, str(error), self.clock().unix_s)
            return
        now_s = self.clock().unix_s
        before = [each.autoscaler for each in self.known.look.judged]
        self.tell(list(of_autoscalers(before, [each.autoscaler for each in look.judged], now_s)))
        await self._store(self.known.take, look, now_s, self._asked())

    async def _store(self, store: Callable[..., None], *values: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self.thread, store, *values)

    async def facts(self, judged: Judged) -> Collected:
        """All there is to say about one autoscaler, a moment old at most; asked for once, however many wait for it."""
        now_s = self.clock().monotonic_s
        current = self._gatherings.get(judged.name)
        if current is None or (current.task.done() and now_s - current.begun_s > FACTS_AGE_S):
            if self.kubernetes is None:
                raise LookupError("there is no cluster")
            work = asyncio.to_thread(collect_autoscaler, self.kubernetes, judged.autoscaler)
            current = self._gatherings[judged.name] = _Gathering(now_s, asyncio.create_task(work))
            self._gatherings.move_to_end(judged.name)
            if len(self._gatherings) > MOST_FACTS:
                self._gatherings.popitem(last=False)
        return await asyncio.shield(current.task)

    def _asked(self) -> Mapping[ObjectName, CollectedAutoscaler]:
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
            yield from map(parse_hpa, listed.get("items") or ())
        except (KeyError, TypeError, ValueError, QuantityError) as error:
            raise KubernetesError(f"{kubernetes.server} lists an autoscaler that makes no sense: {error!r}") from error
        more = (listed.get("metadata") or {}).get("continue") or None


_LONGEST_TARGET = 30


def parse_target(text: str) -> int | None:
    """Thousandths of a target that somebody tries; None for an empty text. Raises RequestError."""
    if not text:
        return None
    try:
        target = milli(parse_quantity(text[:_LONGEST_TARGET]))
    except QuantityError as error:
        raise RequestError(f"the target is no number: {error}") from error
    if target <= 0 or len(text) > _LONGEST_TARGET:
        raise RequestError(f"a target is more than 0: {text[:_LONGEST_TARGET]!r}")
    return target


def explained(facts: Collected, now_unix_s: float) -> Json:
    """The document; `now_unix_s` on the cluster's clock."""
    return report_json(make_report(facts, now_unix_s))


def what_if(facts: Collected, target: int | None, now_unix_s: float) -> Mapping[str, Any] | None:
    """How many pods the autoscaler would go to with another target, in thousandths, of its first external metric."""
    if target is None or not facts.autoscalers:
        return None
    gathered = facts.autoscalers[0]
    position = first_external(gathered.autoscaler)
    if position is None:
        return None
    before = gathered.autoscaler.metrics[position].target
    tried = with_target(gathered.autoscaler, position, replace(before, amount=target))
    decision = decide(tried, gathered.scale, gathered.observed, now_unix_s)
    return {"target": _number(target), "pods": decision.pods}


def _number(thousandths: int) -> float | int:
    return thousandths // 1000 if thousandths % 1000 == 0 else thousandths / 1000
