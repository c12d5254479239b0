"""The cluster's autoscalers that use external metrics: polled, evaluated by the console's own readings, and their hour.

An autoscaler that a page shows is also collected in depth, with the metric as the cluster serves it.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from app.beanstalkd.demand import Demand
from app.clock import Instant
from app.console.errors import RequestError
from app.console.events import Event, of_autoscalers, reported_events
from app.console.health import is_late
from app.console.history import ReplicaTrack
from app.explain.collect import Collected, CollectedAutoscaler, MetricClient, collect_autoscaler
from app.explain.events import HpaEvents, list_events
from app.explain.report import ScalingReport, report_scaling, scaling_json
from app.hpa.autoscaler import EXTERNAL, Autoscaler, Metric, parse_hpa
from app.hpa.conditions import reported
from app.hpa.decision import Decision, Missing, NotQueried, Observed, Stage, Total, decide, with_target
from app.hpa.obstacles import obstacles
from app.hpa.scaling import effective
from app.kube.checks import CheckFailedError
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.metrics.metric import Metric as ExternalMetric
from app.metrics.query import EvaluationContext, MetricError, MetricQuery, UnknownMetricError, WantedTubes, total
from app.metrics.resolve import resolve
from app.metrics.rules import Glob
from app.metrics.selector import SelectorError, parse_selector
from app.quantity import QuantityError, milli, parse_quantity, plain
from app.settings import ObjectName

MAX_AUTOSCALERS = 500
POLL_EVERY_S = 5.0
COLLECTED_AGE_S = 2.0
"""Seconds for which one collection serves all pages of an autoscaler."""
EVENTS_AGE_S = 5.0
"""Seconds for which one list of an autoscaler's Events serves all pages: kube-apiserver reads all of its namespace."""
ENABLED_AGE_S = 60.0
"""Seconds after which `scaling.enabled` is read from the server again."""
MAX_COLLECTED = 50
_MAX_LOOK_UPS = 10
"""Autoscalers whose Events are read after one poll."""
_MAX_TARGET = 30
"""Characters."""

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AutoscalerLink:
    """An autoscaler and the tubes of one of its metrics."""

    autoscaler: ObjectName
    tubes: Glob
    servers: frozenset[str]
    """Names of the servers."""
    ignores_paused: bool
    """Whether the jobs of a paused tube that aren't reserved don't count."""

    def covers(self, server: str, tube: str) -> bool:
        """Return whether the autoscaler uses this tube."""
        return server in self.servers and self.tubes.matches(tube)


@dataclass(frozen=True, slots=True)
class AutoscalerState:
    """One autoscaler, evaluated by the console's readings."""

    autoscaler: Autoscaler
    observed: tuple[Observed, ...]
    """One for each of its metrics."""
    decision: Decision
    units: tuple[str | None, ...]
    """Unit of each of its metrics, in the plural; None if unknown."""
    late: bool
    """Whether a server of the metric that charts show is late: their line then has a gap."""
    scaling: ScalingReport | None
    """What beanscale does for it, by its annotations; None: it has none."""

    @property
    def name(self) -> ObjectName:
        """NAMESPACE/NAME."""
        return ObjectName(self.autoscaler.namespace, self.autoscaler.name)

    @property
    def metric_missing(self) -> bool:
        """True if a metric has no value, by the console's readings or by the HPA's conditions."""
        return any(step.stage is Stage.ERROR for step in self.decision.steps)


@dataclass(frozen=True, slots=True)
class ReportedEvents:
    """The Events of one HPA at one moment."""

    read_s: float
    """Monotonic seconds."""
    known: HpaEvents
    ahead_s: float
    """How far the console's clock is ahead of the cluster's."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """All autoscalers at one moment."""

    states: tuple[AutoscalerState, ...] = ()
    links: Sequence[AutoscalerLink] = ()
    wanted: WantedTubes = field(default_factory=WantedTubes)
    """What their metrics are computed from."""


def evaluate_autoscalers(
    autoscalers: Iterable[Autoscaler], context: EvaluationContext, *, scaling_enabled: bool | None = None
) -> PollResult:
    """Evaluate those that have an external metric. Pure; slow if metrics cover very many tubes.

    `scaling_enabled`: whether the server's scaler runs; None: unknown.
    """
    used = [each for each in autoscalers if first_external(each) is not None][:MAX_AUTOSCALERS]
    states: list[AutoscalerState] = []
    links: list[AutoscalerLink] = []
    tubes: dict[str, None] = {}
    ages: dict[str, None] = {}
    for autoscaler in used:
        resolved = [_resolve(autoscaler, metric, context) for metric in autoscaler.metrics]
        observed = tuple(_observe(autoscaler, *each) for each in zip(autoscaler.metrics, resolved, strict=True))
        decision = decide(effective(autoscaler, scaling_enabled), autoscaler.scale, observed, context.now.unix_s)
        shown = resolved[first_external(autoscaler) or 0]
        late = shown is not None and any(is_late(server, context.now) for server in shown.servers)
        units = tuple(metric.definition.unit if metric and metric.definition else None for metric in resolved)
        state = AutoscalerState(
            autoscaler,
            observed,
            decision,
            units,
            late,
            report_scaling(autoscaler, scaling_enabled, obstacles(autoscaler)),
        )
        states.append(state)
        for metric in resolved:
            if metric is None:
                continue
            wanted = metric.wanted()
            tubes |= dict.fromkeys(wanted.tubes)
            ages |= dict.fromkeys(wanted.ages)
            if metric.tubes.patterns:
                with suppress(MetricError):  # a metric without scope is about no tube
                    servers = frozenset(each.server.name for each in metric.scope.servers)
                    links.append(AutoscalerLink(state.name, metric.tubes, servers, metric.ignores_paused))
    return PollResult(tuple(states), links, WantedTubes(tuple(tubes), tuple(ages)))


def _resolve(autoscaler: Autoscaler, metric: Metric, context: EvaluationContext) -> ExternalMetric | None:
    """Return what the HPA queries; None for a metric that isn't external, or whose selector is invalid."""
    if metric.source != EXTERNAL:
        return None
    try:
        query = MetricQuery(metric.name, autoscaler.namespace, parse_selector(metric.selector))
    except SelectorError:
        return None
    return resolve(query, context)


def _observe(autoscaler: Autoscaler, metric: Metric, resolved: ExternalMetric | None) -> Observed:
    if resolved is None:
        return NotQueried()
    no_value = autoscaler.reports("ScalingActive", "FailedGetExternalMetric") and not autoscaler.is_outdated
    if no_value and metric.last_value is None:  # the HPA's value is of beanscale's server, not of this console
        return Missing(reported(autoscaler, "ScalingActive"))
    try:
        return Total(total(resolved.values()))
    except UnknownMetricError:
        return NotQueried()  # another adapter's, or a rule that this console doesn't have
    except MetricError as error:
        # The HPA's value is of beanscale's server, which may read what this console hasn't read yet, or can't.
        return NotQueried() if metric.last_value is not None else Missing(str(error))


def first_external(autoscaler: Autoscaler) -> int | None:
    """Return the position of the metric that charts show."""
    return next((at for at, metric in enumerate(autoscaler.metrics) if metric.source == EXTERNAL), None)


class AutoscalerStore:
    """The latest poll result, and each autoscaler's last hour. Its tracks belong to the pages' thread."""

    def __init__(self, error: str | None) -> None:
        self.error = error
        """Why autoscalers aren't known (any more): a clause."""
        self.result = PollResult()
        self.reported: dict[ObjectName, ReportedEvents] = {}
        """The Events of those that a page showed, or that were scaled while the console watched."""
        self.scaling_enabled: bool | None = None
        """Whether the server's scaler runs; None: unknown."""
        self._read_s: float | None = None
        self._failed = False
        self._tracks: dict[ObjectName, ReplicaTrack] = {}

    def update(
        self,
        result: PollResult,
        now_s: float,
        collected: Mapping[ObjectName, CollectedAutoscaler] = MappingProxyType({}),
    ) -> None:
        """Store a result, and forget autoscalers that aren't in it. `collected` has more exact values of some."""
        self.result, self.error, self._read_s, self._failed = result, None, now_s, False
        self._tracks = {each.name: self._tracks.get(each.name) or ReplicaTrack() for each in result.states}
        # A copy, because the poller's threads add to it.
        self.reported = {name: known for name, known in self.reported.copy().items() if name in self._tracks}
        for each in result.states:
            exact = collected.get(each.name)
            value, target = _value_and_target(exact or each)
            if each.late:
                value = None
            current = (exact.scale if exact else each.autoscaler.scale).status_replicas
            pods = (each.autoscaler.desired, current) if each.autoscaler.knows_pods else (None, None)
            self._tracks[each.name].add(now_s, value, target, *pods)

    def fail(self, error: str, now_s: float) -> None:
        """Record that the cluster couldn't be polled."""
        self.error, self._failed = error, True
        for track in self._tracks.values():
            track.add(now_s, None, None, None, None)

    def find(self, name: ObjectName) -> AutoscalerState | None:
        """Return one autoscaler."""
        return next((each for each in self.result.states if each.name == name), None)

    def events(self, names: Iterable[ObjectName]) -> Sequence[Event]:
        """Return what beanscale reported in the Events of some autoscalers, as far as they have been read."""
        reported = self.reported
        known = [(name, reported[name]) for name in names if name in reported]
        return [event for name, each in known for event in reported_events(name, each.known.events, each.ahead_s)]

    def series(self, name: ObjectName) -> Json | None:
        """Return its last hour as JSON; None if there is no such autoscaler."""
        found = self.find(name)
        if found is None:
            return None
        _, target = _value_and_target(found)
        return {
            "namespace": name.namespace,
            "name": name.name,
            **self._tracks[name].series(),
            "target": target,
            "unit": found.units[first_external(found.autoscaler) or 0],
            "min": found.autoscaler.minimum,
            "max": found.autoscaler.maximum,
        }

    def to_json(self, now_s: float) -> Json:
        """Return the page of all autoscalers."""
        return {
            "now": round(now_s, 3),
            "available": self.error is None,
            "why": self.error,
            "cluster": self.cluster_json(now_s),
            "metricMissing": any(each.metric_missing for each in self.result.states),
            "autoscalers": [_row(each) for each in self.result.states],
        }

    def cluster_json(self, now_s: float) -> Json:
        """Return whether the last poll of the cluster failed, and how old what is shown of it is."""
        age_s = None if self._read_s is None else max(0.0, round(now_s - self._read_s, 3))
        return {"late": self._failed, "failure": self.error if self._failed else None, "ageSeconds": age_s}


def _value_and_target(state: AutoscalerState | CollectedAutoscaler) -> tuple[float | None, float | None]:
    """Return those of the metric that charts show. Between two requests, an HPA may get other metrics, or none."""
    position = first_external(state.autoscaler)
    if position is None:
        return None, None
    value, target = state.observed[position], state.autoscaler.metrics[position].target.amount / 1000
    return (value.amount / 1000 if isinstance(value, Total) else None), target


def _row(state: AutoscalerState) -> Json:
    autoscaler, decision = state.autoscaler, state.decision
    return {
        "namespace": autoscaler.namespace,
        "name": autoscaler.name,
        "target": str(autoscaler.workload),
        "metrics": [
            {
                "name": metric.name,
                "selector": metric.selector,
                "total": plain(observed.amount) if isinstance(observed, Total) else None,
                "target": {"type": metric.target.kind.value, "amount": plain(metric.target.amount)},
                "unit": unit,
            }
            for metric, observed, unit in zip(autoscaler.metrics, state.observed, state.units, strict=True)
        ],
        "current": autoscaler.scale.status_replicas if autoscaler.knows_pods else None,
        "desired": autoscaler.desired if autoscaler.knows_pods else None,
        "min": autoscaler.minimum,
        "max": autoscaler.maximum,
        "sentence": decision.verdict_from(autoscaler.scale.spec_replicas),
        "scaling": scaling_json(state.scaling),
    }


@dataclass(frozen=True, slots=True)
class _Collecting:
    started_s: float
    task: asyncio.Task[Collected]


@dataclass(eq=False)
class AutoscalerPoller:
    """Keeps `store` current while `run` runs, and collects single autoscalers for pages."""

    kubernetes: Kubernetes
    namespaces: Sequence[str]
    """Empty: all."""
    store: AutoscalerStore
    context: Callable[[], EvaluationContext]
    demand: Demand
    """Demand of the poller whose snapshots `context` has."""
    add_events: Callable[[Sequence[Event]], None]
    clock: Callable[[], Instant]
    thread: Executor
    """The pages' thread."""
    _collecting: OrderedDict[ObjectName, _Collecting] = field(default_factory=OrderedDict, init=False)
    _enabled_read_s: float = field(default=-math.inf, init=False)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self._poll()
            await asyncio.sleep(POLL_EVERY_S)

    async def _poll(self) -> None:
        loop, context = asyncio.get_running_loop(), self.context()
        enabled = self.store.scaling_enabled

        def evaluate() -> PollResult:
            return evaluate_autoscalers(_list(self.kubernetes, self.namespaces), context, scaling_enabled=enabled)

        try:
            result = await asyncio.to_thread(evaluate)
        except KubernetesError as error:
            await loop.run_in_executor(self.thread, self.store.fail, str(error), self.clock().unix_s)
            return
        now = self.clock()
        self.demand.request(result.wanted.tubes, now)
        self.demand.request_ages(result.wanted.ages, now)
        now_s = now.unix_s
        before = [each.autoscaler for each in self.store.result.states]
        events = list(of_autoscalers(before, [each.autoscaler for each in result.states], now_s))
        self.add_events(events)
        collected = {
            name: each.task.result().autoscalers[0]
            for name, each in self._collecting.items()
            if self.clock().monotonic_s - each.started_s <= POLL_EVERY_S
            and each.task.done()
            and each.task.exception() is None
        }
        await loop.run_in_executor(self.thread, self.store.update, result, now_s, collected)
        await asyncio.to_thread(self._look_up, result, {event.autoscaler for event in events})

    def _look_up(self, result: PollResult, scaled: Collection[ObjectName | None]) -> None:
        """Read what the HPAs don't have themselves: Events of those that were scaled, and whether the scaler runs."""
        annotated = [each for each in result.states if each.autoscaler.options.requested]
        for each in [each for each in annotated if each.name in scaled][:_MAX_LOOK_UPS]:
            self._keep_events(each.name, list_events(self.kubernetes, each.autoscaler))
        now_s = self.clock().monotonic_s
        if annotated and now_s - self._enabled_read_s > ENABLED_AGE_S:
            self._enabled_read_s = now_s
            autoscaler = annotated[0].autoscaler
            metric = autoscaler.metrics[first_external(autoscaler) or 0]
            with suppress(CheckFailedError, SelectorError):
                client = MetricClient(self.kubernetes, autoscaler.namespace)
                explained = client.explanation(metric.name, metric.selector)
                self.store.scaling_enabled = explained.scaling_enabled

    def _keep_events(self, name: ObjectName, known: HpaEvents) -> None:
        self.store.reported[name] = ReportedEvents(self.clock().monotonic_s, known, self.kubernetes.clock_ahead_s)

    def _collect(self, state: AutoscalerState) -> Collected:
        reported = self.store.reported.get(state.name)
        if reported and self.clock().monotonic_s - reported.read_s <= EVENTS_AGE_S:
            return collect_autoscaler(self.kubernetes, state.autoscaler, reported.known)
        collected = collect_autoscaler(self.kubernetes, state.autoscaler)
        self._keep_events(state.name, collected.autoscalers[0].events)
        return collected

    async def collect(self, state: AutoscalerState) -> Collected:
        """Return everything about one autoscaler, at most COLLECTED_AGE_S old; callers share one collection."""
        now_s = self.clock().monotonic_s
        current = self._collecting.get(state.name)
        if current is None or (current.task.done() and now_s - current.started_s > COLLECTED_AGE_S):
            task = asyncio.create_task(asyncio.to_thread(self._collect, state))
            current = self._collecting[state.name] = _Collecting(now_s, task)
            self._collecting.move_to_end(state.name)
            if len(self._collecting) > MAX_COLLECTED:
                self._collecting.popitem(last=False)
        return await asyncio.shield(current.task)

    @property
    def cluster_now_s(self) -> float:
        """Unix seconds on the cluster's clock."""
        return self.clock().unix_s - self.kubernetes.clock_ahead_s


def _list(kubernetes: Kubernetes, namespaces: Sequence[str]) -> Iterator[Autoscaler]:
    """Yield all autoscalers, a page at a time. Blocking. Raises KubernetesError."""
    prefixes = [f"/namespaces/{quote(namespace, safe='')}" for namespace in namespaces] or [""]
    for prefix in prefixes:
        for items, _ in kubernetes.pages(f"/apis/autoscaling/v2{prefix}/horizontalpodautoscalers"):
            try:
                yield from map(parse_hpa, items)
            except (KeyError, TypeError, ValueError, QuantityError) as error:
                raise KubernetesError(
                    f"{kubernetes.server} returned an invalid HorizontalPodAutoscaler: {error!r}"
                ) from error


def parse_target(text: str) -> int | None:
    """Parse a target to try, in thousandths; None for an empty text. Raises RequestError."""
    if not text:
        return None
    try:
        target = milli(parse_quantity(text[:_MAX_TARGET]))
    except QuantityError as error:
        raise RequestError(f"the target is not a number: {error}") from error
    if target <= 0 or len(text) > _MAX_TARGET:
        raise RequestError(f"the target must be greater than 0, not {text[:_MAX_TARGET]!r}")
    return target


def what_if(collected: Collected, target: int | None, now_unix_s: float) -> Mapping[str, Any] | None:
    """Return the number of pods with another target, in thousandths, of the first external metric."""
    (one,) = collected.autoscalers
    position = first_external(one.autoscaler)
    if target is None or position is None:
        return None
    before = one.autoscaler.metrics[position].target
    tried = with_target(one.autoscaler, position, replace(before, amount=target))
    decision = decide(tried, one.scale, one.observed, now_unix_s)
    return {"target": target // 1000 if target % 1000 == 0 else target / 1000, "pods": decision.pods}
