"""The scaler: after each new reading, change the scale of workloads whose HPA is annotated, if its HPA would.

All replicas of the server do the same without election: each change carries the version of the workload that it was
computed from, and all compute the same number. The HPA and its workload are read only when there is something to
change.
"""

import asyncio
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, itemgetter

import structlog
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.beanstalkd.poller import Poller
from app.clock import Instant
from app.hpa.autoscaler import SYNC_PERIOD_S, Scale
from app.hpa.decision import pods
from app.hpa.obstacles import REASONS, Obstacle, Reason, obstacles
from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError
from app.kube.scale import ScaleClient, ScaleObject
from app.metrics.query import EvaluationContext
from app.metrics.rules import Rules
from app.ratelimit import TokenBucket, backoff
from app.scaler.history import History
from app.scaler.hpas import Hpa, HpaWatcher, read_hpa
from app.scaler.plan import Plan, Situation, make_plan
from app.scaler.reading import Counters, MetricReading, Tubes, is_long, read_metrics, read_tubes, without_substitutes
from app.scaler.reports import Reporter, describe_failure

THREADS = 8
MAX_PENDING = 64
"""Changes that wait for a thread; others are computed again from the next reading."""
_RETRY_THREADS = 2
"""For workloads whose last change failed: they must not delay others."""
_RETRIES_PER_S = 30
"""Of these: anyone who may create HPAs can have thousands that fail."""
MIN_PERIOD_S = 1.0
"""Between two changes of one workload."""
_PAUSE_S = 0.2
"""Between two passes: with several servers, readings come in quick succession."""
_SLICE_S = 0.005
"""Evaluating HPAs takes at most about so long before others get the event loop."""
_PASS_S = 0.5
"""A pass over the HPAs ends after this time, and the next one begins with the others: 5,000 HPAs take less."""
_LONG_PASS_S = 5.0
"""The same for metrics of many tubes."""
_REPORT_AFTER_S = 15.0
"""A metric without a value is reported after a sync period: after a start, some need readings over several seconds."""
_MAX_RETRY_S = 30.0
_CONFLICTS = 3
"""In a row, before they are reported: one shows only that another replica, or the workload's controller, was first."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Target:
    """What is known of one HPA's workload. Belongs to the event loop."""

    hpa: Hpa
    scale: Scale
    """As seen last, in the HPA's status or in the workload."""
    history: History
    idle: tuple[Counters, Instant] | None = None
    """The counters of its tubes, and since when they have been these without a job ready or reserved."""
    missing_since: Instant | None = None
    """Since when a metric has had no value."""
    is_long: bool = False
    """Evaluation takes too long for the event loop."""
    visited_s: float = 0.0
    """Monotonic seconds of the last pass that got to it."""
    long_visited_s: float = 0.0
    """The same of passes over metrics of many tubes."""
    planned: object = None
    """What the last plan was made from; the same leads to the same plan."""
    reported: Mapping[str, Reason] = field(default_factory=dict)
    """Key to reason of the obstacles that the last plan had."""
    failed: Obstacle | None = None
    """Why the last change failed, or none is tried."""
    conflicts: int = 0
    """Changes in a row that failed because the workload had changed."""
    busy: bool = False
    """A thread is changing the workload."""
    wait_until_s: float = 0.0
    """Monotonic seconds before which nothing is changed."""
    delays: Iterator[float] = field(default_factory=lambda: backoff(1.0, _MAX_RETRY_S))

    def is_missing_briefly(self, now: Instant) -> bool:
        """Return whether it is too early to report that a metric has no value."""
        return self.missing_since is not None and self.missing_since.age_s(now) < _REPORT_AFTER_S

    @property
    def reasons(self) -> frozenset[Reason]:
        """Why the workload isn't scaled as the annotations ask for."""
        return frozenset(self.reported.values()) | ({self.failed.reason} if self.failed else set())


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a thread found and did."""

    plan: Plan | None = None
    """None: it was too late, or the HPA was deleted or changed since."""
    scales: tuple[ScaleObject, ...] = ()
    """As read, and after the change."""


class Scaler(Collector):
    """Scales the workloads of annotated HPAs while `run` runs. For one event loop."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        poller: Poller,
        rules: Rules,
        *,
        max_age_s: float,
        clock: Callable[[], Instant],
    ) -> None:
        self.hpas = HpaWatcher()
        self._kubernetes = kubernetes
        self._scales = ScaleClient(kubernetes)
        self._poller = poller
        self._rules = without_substitutes(rules)
        self._server_time = kubernetes.server_time
        self._max_age_s = max_age_s
        self._clock = clock
        self._targets: dict[str, _Target] = {}
        self._followed = False
        """All HPAs have been seen once, so that others are new."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="scaler")
        self._retry_threads = ThreadPoolExecutor(_RETRY_THREADS, thread_name_prefix="scaler-retry")
        self._long_thread = ThreadPoolExecutor(1, thread_name_prefix="scaler-long")
        self._long: asyncio.Task[None] | None = None
        self._reporter = Reporter(kubernetes)
        self.running: set[asyncio.Task[None]] = set()
        """The changes in progress."""
        self._retrying: set[asyncio.Task[None]] = set()
        """Those of them whose last attempt failed."""
        self._retries = TokenBucket(_RETRIES_PER_S, 1 / _RETRIES_PER_S, clock().monotonic_s)

    async def run(self) -> None:
        """Scale until cancelled."""
        self.hpas.start(self._kubernetes)
        snapshot = self._poller.snapshot
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(MIN_PERIOD_S):
                        snapshot = await self._poller.newer_than(snapshot)
                began = self._clock()
                if not self._poller.awaited():
                    await self.evaluate_all()
                await asyncio.sleep(max(_PAUSE_S, 2 * began.age_s(self._clock())))
        finally:
            for threads in (self._threads, self._retry_threads, self._long_thread):
                threads.shutdown(wait=False, cancel_futures=True)
            self._reporter.close()

    def warning(self) -> str | None:
        """Return for /readyz?verbose why a change of an HPA may not be seen."""
        return f"HPAs can't be watched: {self.hpas.error}" if self.hpas.error else None

    def failures(self, namespace: str) -> Mapping[str, Obstacle]:
        """Return why the last change failed, or none is tried, of HPAs of a namespace, by name."""
        return {
            target.hpa.reference.name: target.failed
            for target in self._targets.values()
            if target.failed and target.hpa.reference.namespace == namespace
        }

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for /metrics."""
        yield GaugeMetricFamily(
            "beanscale_scaler_watch_up",
            "1 while HPAs can be watched; those seen last stay in use.",
            value=float(self.hpas.error is None),
        )
        yield GaugeMetricFamily(
            "beanscale_scaler_autoscalers",
            "HPAs whose annotations ask beanscale to scale their workload.",
            value=float(len(self.hpas.current)),
        )
        rejected = GaugeMetricFamily(
            "beanscale_scaler_rejected",
            "HPAs for which beanscale can't do now what their annotations ask for, by reason.",
            labels=["reason"],
        )
        targets = self._targets.values()
        reasons = Tally(reason for target in targets for reason in target.reasons)
        for reason in REASONS:
            rejected.add_metric([reason], reasons[reason])
        yield rejected
        yield from self._reporter.collect()

    async def evaluate_all(self) -> None:
        """Plan for all HPAs, or as many as there is time for, by the present snapshot, and start the changes."""
        began = now = self._clock()
        self._take_hpas(now)
        by_workload: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for hpa in (target.hpa for target in self._targets.values()):
            if hpa.autoscaler.options.active:
                by_workload[hpa.workload].append(hpa.reference.name)
        slice_began = now
        for turn, target in _in_turns(self._targets.values(), attrgetter("visited_s")):
            if turn and began.age_s(now) > _PASS_S:
                break
            target.visited_s = now.monotonic_s
            try:
                found = _excluded(target.hpa, by_workload[target.hpa.workload])
                target.is_long = found is None and is_long(target.hpa.queries, context := self._context(now))
                if found is not None:
                    target.idle = target.planned = None
                    target.failed = found[0] if target.hpa.autoscaler.options.active else None
                    self._report(target, found, now)
                elif not target.is_long:
                    self._evaluate(target, *_read(target.hpa, target.scale, context), now)
            except Exception as error:  # noqa: BLE001 - one HPA's defect must not end all metrics
                self._fail(target, error)
            now = self._clock()
            if slice_began.age_s(now) > _SLICE_S:
                await asyncio.sleep(0)
                slice_began = now = self._clock()
        long = [target for target in self._targets.values() if target.is_long]
        if long and (self._long is None or self._long.done()):
            self._long = asyncio.create_task(self._evaluate_long(long))

    def _take_hpas(self, now: Instant) -> None:
        """Let the targets be those of the HPAs that the watch shows."""
        hpas = self.hpas.current
        for key in self._targets.keys() - hpas.keys():
            del self._targets[key]
        for key, hpa in hpas.items():
            target = self._targets.get(key)
            if target is None or target.hpa.reference.uid != hpa.reference.uid:
                scale = hpa.autoscaler.scale if hpa.autoscaler.knows_pods else Scale(0, 0)
                self._targets[key] = _Target(hpa, scale, self._start_history(hpa, now))
            elif target.hpa is not hpa:
                if hpa.autoscaler.knows_pods and not target.hpa.autoscaler.knows_pods:
                    target.history = self._start_history(hpa, now)
                _update(target, hpa, now)
        self._followed = self.hpas.error is None

    def _start_history(self, hpa: Hpa, now: Instant) -> History:
        """Return the history of an HPA that is seen, or whose number of pods is known, for the first time."""
        autoscaler = hpa.autoscaler
        replicas = autoscaler.scale.spec_replicas if autoscaler.knows_pods else 0
        scaled_s = self._server_time(now).timestamp() - (autoscaler.scaled_at_s or 0.0)
        # Before the start, another process may have scaled; before an HPA has annotations, only the controller does.
        if self._followed and scaled_s > max(hpa.periods_s) + SYNC_PERIOD_S:
            return History(replicas)
        lowest = 0 if autoscaler.options.idle_s is not None else min(autoscaler.minimum, replicas)
        return History.start(replicas, lowest, now)

    async def _evaluate_long(self, targets: Iterable[_Target]) -> None:
        """Evaluate metrics of many tubes, each in a thread, and altogether in a fifth of the time."""
        pass_began = self._clock()
        for turn, target in _in_turns(targets, attrgetter("long_visited_s")):
            began, hpa = self._clock(), target.hpa
            if turn and pass_began.age_s(began) > _LONG_PASS_S:
                break
            target.long_visited_s = began.monotonic_s
            try:
                read = partial(_read, hpa, target.scale, self._context(began))
                results = await asyncio.get_running_loop().run_in_executor(self._long_thread, read)
                # Meanwhile the HPA may have changed, or another one have come for the same workload.
                if target.hpa is hpa and target.is_long:
                    self._evaluate(target, *results, self._clock())
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(target, error)
            await asyncio.sleep(4 * began.age_s(self._clock()))

    def _context(self, now: Instant) -> EvaluationContext:
        return EvaluationContext(self._poller.snapshot, now, self._max_age_s, self._rules)

    def _evaluate(self, target: _Target, reading: MetricReading, tubes: Tubes | None, now: Instant) -> None:
        """Plan, report what is in the way, and start the change."""
        hpa, autoscaler, options = target.hpa, target.hpa.autoscaler, target.hpa.autoscaler.options
        wanted = reading.wanted
        self._poller.demand.request(wanted.tubes, now, autoscaler.namespace)
        self._poller.demand.request_ages(wanted.ages, now, autoscaler.namespace)
        idle_for_s = _idle_for_s(target, tubes)
        target.missing_since = (target.missing_since or now) if reading.missing is not None else None
        changes = target.history.changes(now, max(hpa.periods_s))
        added = [sum(added for ago_s, added in changes if ago_s < period_s) for period_s in hpa.periods_s]
        is_idle = idle_for_s >= (options.idle_s or 0.0)
        planned = reading.observed, target.scale, added, is_idle, tubes and (tubes.waiting, tubes.takeable)
        if planned == target.planned or target.busy:
            return
        situation = Situation(
            autoscaler, target.scale, reading, tubes, idle_for_s, changes, self._server_time(now).timestamp()
        )
        plan = make_plan(situation)
        self._report(target, plan.obstacles, now)
        if plan.change is None:
            target.failed, target.conflicts = None, 0
            target.planned = None if target.is_missing_briefly(now) else planned
        elif target.wait_until_s <= now.monotonic_s:
            is_retry = target.failed is not None and target.failed.reason != "conflict"
            pending = len(self._retrying) if is_retry else len(self.running) - len(self._retrying) - THREADS
            if pending >= MAX_PENDING or (is_retry and not self._retries.take(now.monotonic_s)):
                return
            target.busy = True
            threads = self._retry_threads if is_retry else self._threads
            task = asyncio.create_task(self._change(target, situation, threads))
            for tasks in (self.running, self._retrying) if is_retry else (self.running,):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _change(self, target: _Target, situation: Situation, threads: ThreadPoolExecutor) -> None:
        apply = partial(self._apply, target.hpa, target.history, situation)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(threads, apply)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(target, error)
            return
        finally:
            target.busy, target.planned = False, None
        now = self._clock()
        for scale in outcome.scales:
            target.history = target.history.seen(scale.spec_replicas, now)
            target.scale = Scale(scale.spec_replicas, scale.status_replicas)
        if outcome.plan is not None:
            self._report(target, outcome.plan.obstacles, now)
        target.failed, target.conflicts, target.delays = None, 0, backoff(1.0, _MAX_RETRY_S)
        target.wait_until_s = now.monotonic_s + MIN_PERIOD_S

    def _apply(self, hpa: Hpa, history: History, situation: Situation) -> _Outcome:
        """Plan again with what is there now, and change the workload. Raises KubernetesError."""
        of = hpa.reference
        path = object_path(f"/apis/{of.api_version}", of.namespace, "horizontalpodautoscalers", of.name)
        try:
            present = read_hpa(self._kubernetes.request("GET", path))
        except KubernetesError as error:
            if error.status != 404:
                raise
            present = None
        if present is None or present.reference.uid != of.uid or present.queries != hpa.queries:
            return _Outcome()  # the watch will show it
        workload = present.autoscaler.workload
        scale = self._scales.read(of.namespace, workload.api_version, workload.kind, workload.name)
        now, present_scale = self._clock(), Scale(scale.spec_replicas, scale.status_replicas)
        reading, tubes = _read(present, present_scale, self._context(now))
        same = tubes is not None and situation.tubes is not None and tubes.counters == situation.tubes.counters
        plan = make_plan(
            Situation(
                present.autoscaler,
                present_scale,
                reading,
                tubes,
                situation.idle_for_s if same else 0.0,
                history.seen(scale.spec_replicas, now).changes(now, max(present.periods_s)),
                self._server_time(now).timestamp(),
            )
        )
        if plan.change is None:
            return _Outcome(plan, (scale,))
        changed = self._scales.change(scale, plan.change.replicas)
        if changed.spec_replicas != plan.change.replicas:
            what = f"{workload} has {pods(changed.spec_replicas)} after {plan.change.replicas} were set"
            raise KubernetesError(what, status=422, reason="Changed")
        self._reporter.change(present, plan.change, scale, self._clock())
        return _Outcome(plan, (scale, changed))

    def _report(self, target: _Target, found: Iterable[Obstacle], now: Instant) -> None:
        """Report the obstacles that the last plan didn't have."""
        is_early = target.is_missing_briefly(now)
        found = [each for each in found if not (is_early and each.reason == "no_value")]
        target.reported = self._reporter.obstacles(target.hpa, found, target.reported, now)

    def _fail(self, target: _Target, error: Exception) -> None:
        """Report why a change failed, and wait before the next attempt."""
        now, failure = self._clock(), describe_failure(target.hpa, error)
        is_conflict = failure.reason == "conflict"
        target.wait_until_s = now.monotonic_s + (MIN_PERIOD_S if is_conflict else next(target.delays))
        target.conflicts = target.conflicts + 1 if is_conflict else 0
        if (target.failed and failure.reason == target.failed.reason) or 0 < target.conflicts < _CONFLICTS:
            return
        if failure.reason == "internal":
            _log.error("scaler failed", hpa=target.hpa.reference.name, exc_info=error)
        target.failed = failure
        self._reporter.obstacle(target.hpa, failure, now)


def _in_turns(targets: Iterable[_Target], visited_s: Callable[[_Target], float]) -> Sequence[tuple[int, _Target]]:
    """Return the targets so that namespaces take turns, each with those first that have waited longest.

    Each comes with its place among those of its namespace.
    """
    before: Tally[str] = Tally()
    places: list[tuple[int, _Target]] = []
    for target in sorted(targets, key=visited_s):
        namespace = target.hpa.reference.namespace
        places.append((before[namespace], target))
        before[namespace] += 1
    return sorted(places, key=itemgetter(0))


def _excluded(hpa: Hpa, same_workload: Sequence[str]) -> Sequence[Obstacle] | None:
    """Return why nothing is evaluated for an HPA, if so. `same_workload`: the active HPAs of its workload."""
    if not hpa.autoscaler.options.active:
        return obstacles(hpa.autoscaler)
    other = next((name for name in same_workload if name != hpa.reference.name), None)
    if other is None:
        return None
    what = f"HPA {other} has beanscale annotations for the same workload; delete one of the two, or pause it"
    return (Obstacle("shared_target", what),)


def _update(target: _Target, hpa: Hpa, now: Instant) -> None:
    """Take another version of the HPA. Its status may be older than what was seen of the workload."""
    before, autoscaler = target.hpa.autoscaler, hpa.autoscaler
    if hpa.queries != target.hpa.queries:
        target.idle = None
    target.hpa, target.planned = hpa, None
    if autoscaler.knows_pods and autoscaler.status != before.status:
        target.scale = autoscaler.scale
    if autoscaler.scaled_at_s != before.scaled_at_s:
        target.history = target.history.seen(autoscaler.desired, now)


def _read(hpa: Hpa, scale: Scale, context: EvaluationContext) -> tuple[MetricReading, Tubes | None]:
    """Return what the snapshot shows for an HPA; its tubes only if they are needed."""
    reading = read_metrics(hpa.queries, context)
    needs_tubes = hpa.autoscaler.options.idle_s is not None or scale.spec_replicas == 0
    return reading, read_tubes(reading) if needs_tubes else None


def _idle_for_s(target: _Target, tubes: Tubes | None) -> float:
    """Return for how long nothing has happened in the tubes, by beanstalkd's replies, since there has been a pod.

    Another replica may have seen a job of a tube that existed only between two readings of this one.
    """
    if tubes is None or tubes.waiting or target.scale.spec_replicas == 0:
        target.idle = None
        return 0.0
    if target.idle is None or target.idle[0] != tubes.counters:
        target.idle = tubes.counters, tubes.newest_at
    return max(0.0, target.idle[1].age_s(tubes.oldest_at))
