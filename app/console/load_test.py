"""The load test: puts jobs at a fixed rate, and predicts what the autoscaler makes of them. One at a time.

It ends by itself, when it is stopped, and when the process shuts down.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from app.beanstalkd.reading import TubeRef
from app.clock import Instant
from app.console.action_input import ActionInput
from app.console.autoscalers import AutoscalerStore, first_external
from app.console.errors import RequestError
from app.console.overview import View, rate, tube_now
from app.console.prediction import Load, Situation, predict
from app.hpa.autoscaler import SYNC_PERIOD_S
from app.hpa.decision import Total
from app.hpa.obstacles import obstacles
from app.hpa.scaling import effective, scales_up
from app.jobs.actions import Done, RefusedError
from app.jobs.client import BeanstalkdError, connect
from app.settings import ObjectName
from app.text import count, measured

MAX_JOBS = 100_000
MAX_PER_SECOND = 1_000
MAX_S = 3600
"""Longest duration, even if beanstalkd is slow."""
MAX_BYTES = 65_535
"""Largest job, which is beanstalkd's default limit."""
_TICK_S = 0.05
_MAX_BURST = round(2 * MAX_PER_SECOND * _TICK_S)
"""Jobs per tick: after beanstalkd was slow it catches up, but not all at once."""
_STOP_TIMEOUT_S = 6.0
"""Seconds that stopping waits for beanstalkd's last reply."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to put, and where."""

    ref: TubeRef
    load: Load
    body: bytes
    priority: int
    ttr_s: int
    autoscaler: ObjectName | None = None
    """The one on whose page it was started."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The predicted number of pods."""

    points: Sequence[tuple[float, int]]
    """Unix seconds and pods."""
    assumption: str
    """What they assume, or why there are none: a clause."""


@dataclass(eq=False)
class Run:
    """One plan, in progress or ended."""

    plan: Plan
    forecast: Forecast
    started: Instant
    put: int = 0
    """Written by the thread of `run` only, like `error` and `running`."""
    error: str = ""
    """Why it ended early: a clause."""
    running: bool = True
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, clock: Callable[[], Instant]) -> None:
        """Put all jobs. Blocking. Ends at the first error of beanstalkd."""
        plan, load = self.plan, self.plan.load
        try:
            with connect(plan.ref.server, use=plan.ref.tube) as client:
                while self.put < load.jobs and not self.stop.is_set():
                    elapsed_s = self.started.age_s(clock())
                    if elapsed_s > MAX_S:
                        return
                    due = min(load.jobs, int(elapsed_s * load.per_second) + 1)
                    for _ in range(min(due - self.put, _MAX_BURST)):
                        client.put(plan.body, plan.priority, load.delay_s, plan.ttr_s)
                        self.put += 1
                    self.stop.wait(_TICK_S)
        except BeanstalkdError as error:
            self.error = str(error)
        finally:
            self.running = False

    def to_json(self) -> dict[str, Any]:
        """Return the progress and the forecast."""
        load, ref = self.plan.load, self.plan.ref
        return {
            "running": self.running,
            "server": ref.server.name,
            "tube": ref.tube,
            "put": self.put,
            "of": load.jobs,
            "perSecond": load.per_second,
            "startedAt": round(self.started.unix_s, 3),
            "error": self.error or None,
            "predicted": [{"t": round(at_s, 3), "pods": pods} for at_s, pods in self.forecast.points],
            "assumption": self.forecast.assumption,
        }


class LoadTest:
    """Starts and stops runs, and keeps the latest."""

    def __init__(self, clock: Callable[[], Instant], view: Callable[[], View], store: AutoscalerStore) -> None:
        self._clock = clock
        self._view = view
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load-test")
        self._run: Run | None = None
        self._ended: asyncio.Future[None] | None = None

    async def start(self, parameters: ActionInput, ref: TubeRef) -> Done:
        """Start the load test that a request describes. Raises RequestError, RefusedError."""
        load, autoscaler = parse_load(parameters), parse_autoscaler(parameters)
        body = b"x" * parameters.integer("bodyBytes", 0, MAX_BYTES, 16)
        plan = Plan(ref, load, body, parameters.priority(), parameters.ttr_s(), autoscaler)
        forecast = Forecast((), "")
        if autoscaler:
            # In a thread, because an hour, second by second, may take most of a second.
            forecast = await asyncio.to_thread(predict_pods, self._view(), self._store, autoscaler, ref, load)
        return self.run(plan, forecast)

    def run(self, plan: Plan, forecast: Forecast) -> Done:
        """Start to put the jobs, in a thread. Raises RefusedError if a load test is in progress."""
        if self._run is not None and self._run.running:
            tube = self._run.plan.ref.tube
            raise RefusedError(f"a load test for tube {tube} is in progress, the limit is one: stop it first")
        self._run = Run(plan, forecast, self._clock())
        self._ended = asyncio.get_running_loop().run_in_executor(self._thread, self._run.run, self._clock)
        jobs, tube = count(plan.load.jobs, "job"), plan.ref.tube
        return Done(f"started to put {jobs} into tube {tube}, {plan.load.per_second:,g} per second", plan.load.jobs)

    async def stop(self) -> Done:
        """Stop it, and return how many jobs it put. Raises RefusedError if none is in progress."""
        run, ended = self._run, self._ended
        if run is None or ended is None or not run.running:
            raise RefusedError("no load test is in progress")
        run.stop.set()
        await asyncio.wait([ended], timeout=_STOP_TIMEOUT_S)
        return Done(f"stopped after {run.put:,} of {count(run.plan.load.jobs, 'job')}", run.put)

    def shut_down(self) -> None:
        """Stop it without waiting: the process is about to exit."""
        if self._run is not None:
            self._run.stop.set()

    def to_json(self, autoscaler: ObjectName) -> dict[str, Any] | None:
        """Return the latest run, if it was started on the page of this autoscaler."""
        run = self._run
        return run.to_json() if run is not None and run.plan.autoscaler == autoscaler else None


def parse_load(parameters: ActionInput) -> Load:
    """Return how many jobs to put, and how fast. Raises RequestError."""
    load = Load(
        parameters.integer("jobs", 1, MAX_JOBS),
        parameters.integer("perSecond", 1, MAX_PER_SECOND),
        parameters.delay_s(),
    )
    if load.jobs > load.per_second * MAX_S:
        raise RequestError(
            f"{count(load.jobs, 'job')} at {load.per_second:,g} per second take more than an hour, the limit; put"
            " fewer, or faster"
        )
    return load


def parse_autoscaler(parameters: ActionInput) -> ObjectName | None:
    """Return the autoscaler on whose page a load test is started; None if on another page. Raises RequestError."""
    if "name" not in parameters:
        return None
    return ObjectName(parameters.text("namespace"), parameters.text("name"))


def predict_pods(view: View, store: AutoscalerStore, name: ObjectName, ref: TubeRef, load: Load) -> Forecast:
    """Return how many pods this autoscaler should have under the load, and what that assumes."""
    found = store.find(name)
    position = first_external(found.autoscaler) if found else None
    if found is None or position is None:
        return Forecast((), f"no prediction: autoscaler {name} is unknown")
    if not any(link.autoscaler == name and link.covers(ref.server.name, ref.tube) for link in store.result.links):
        return Forecast((), f"no prediction: {name} doesn't use tube {ref.tube}, as far as is known")
    unit = found.units[position]
    if unit not in {None, "jobs"}:
        return Forecast((), f"no prediction: {found.autoscaler.metrics[position]} counts {unit}, not jobs")
    if not isinstance(found.observed[position], Total):
        return Forecast(
            (), f"no prediction: this console can't read {found.autoscaler.metrics[position]} at the moment"
        )
    state, pods = view.state(ref.server.name), found.autoscaler.scale.status_replicas
    deleted = rate(tube_now(view, state, ref.tube), "deletedPerSecond") if state else None
    per_pod = deleted / pods if deleted and pods else 0.0
    autoscaler = effective(found.autoscaler, store.scaling_enabled)
    sync = f"the autoscaler syncs every {SYNC_PERIOD_S} s"
    if scales_up(autoscaler, obstacles(autoscaler)):
        sync += ", and beanscale scales up within a second"
    situation = Situation(autoscaler, found.observed, position, per_pod)
    if per_pod:
        assumption = (
            f"each pod deletes {measured(f'{per_pod:.2g}', 'jobs/s')}, as now (pods that waited for jobs may be faster)"
        )
    else:
        assumption = "no job was deleted recently, so the rate per pod is unknown: the prediction assumes none"
    return Forecast(predict(situation, load, view.now.unix_s), f"{assumption}; {sync}")
