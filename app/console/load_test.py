"""The load lab: puts so many jobs at a rate, and stops by itself, when told to, and when we leave. One at a time.

The load lab as it is asked for: its plan, and what the autoscaler should make of it.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from app.clock import Instant
from app.console.action_input import BadInputError, Fields
from app.console.action_requests import PRIORITY, TTR_S, NamedTube
from app.console.autoscalers import AutoscalerState, AutoscalerStore, first_external
from app.console.overview import View, rate, tube_now
from app.console.prediction import LOOK_EVERY_S, Load, Situation, predicted
from app.console.threads import Threads
from app.hpa.decision import Total
from app.jobs.actions import MOST_SECONDS, Done, Place, RefusedError, jobs
from app.jobs.client import BeanstalkdError, connect
from app.settings import ObjectName

MOST_JOBS = 100_000
MOST_PER_SECOND = 1_000
MOST_S = 3600
"""However slow."""
_TICK_S = 0.05
_MOST_AT_ONCE = round(2 * MOST_PER_SECOND * _TICK_S)
"""Jobs between two looks at whether it shall stop: it catches up after beanstalkd hung, but in no burst."""
_GOODBYE_S = 6.0
"""For the last answer of a beanstalkd that hangs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be put, and where."""

    place: Place
    load: Load
    body: bytes
    priority: int
    ttr_s: int
    autoscaler: ObjectName | None = None
    """Whose page it was started from."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of it."""

    points: Sequence[tuple[float, int]]
    """Unix seconds and pods."""
    assumption: str
    """What they rest on, or why there are none: a sentence."""


@dataclass(eq=False)
class Run:
    """One plan under way, or ended."""

    plan: Plan
    forecast: Forecast
    started: Instant
    put: int = 0
    """Written by its thread alone."""
    trouble: str = ""
    """Why it ended early: a sentence."""
    running: bool = True
    stop: threading.Event = field(default_factory=threading.Event)

    def go(self, clock: Callable[[], Instant]) -> None:
        """Put all; blocking. Whatever beanstalkd says ends it."""
        place = self.plan.place
        try:
            with connect(place.server, use=place.tube) as client:
                while not self._is_over(now := clock()):
                    for _ in range(min(self._due(now) - self.put, _MOST_AT_ONCE)):
                        client.put(self.plan.body, self.plan.priority, self.plan.load.delay_s, self.plan.ttr_s)
                        self.put += 1
                    self.stop.wait(_TICK_S)
        except BeanstalkdError as error:
            self.trouble = str(error)
        finally:
            self.running = False

    def _due(self, now: Instant) -> int:
        load = self.plan.load
        return min(load.jobs, int(self.started.age_s(now) * load.per_second) + 1)

    def _is_over(self, now: Instant) -> bool:
        return self.put >= self.plan.load.jobs or self.stop.is_set() or self.started.age_s(now) > MOST_S

    def told(self) -> dict[str, Any]:
        """As JSON."""
        load, place = self.plan.load, self.plan.place
        return {
            "running": self.running,
            "server": place.server.name,
            "tube": place.tube,
            "put": self.put,
            "of": load.jobs,
            "perSecond": load.per_second,
            "startedAt": round(self.started.unix_s, 3),
            "trouble": self.trouble or None,
            "predicted": [{"t": round(at_s, 3), "pods": pods} for at_s, pods in self.forecast.points],
            "assumption": self.forecast.assumption,
        }


class Lab:
    """Its latest run."""

    def __init__(self, clock: Callable[[], Instant]) -> None:
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lab")
        self._run: Run | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self, plan: Plan, forecast: Forecast) -> Done:
        """Begin. Raises RefusedError while another one runs."""
        if self._run is not None and self._run.running:
            raise RefusedError(
                f"a load is being put into tube {self._run.plan.place.tube} already, and there is one at a time: stop"
                " that one first"
            )
        self._run = run = Run(plan, forecast, self._clock())
        self._ended = asyncio.get_running_loop().run_in_executor(self._thread, run.go, self._clock)
        load = plan.load
        are = "is" if load.jobs == 1 else "are"
        return Done(
            f"{jobs(load.jobs)} {are} being put into tube {plan.place.tube}, {load.per_second:,g} a second", load.jobs
        )

    async def stop(self) -> Done:
        """End it, and tell how far it came. Raises RefusedError where none runs."""
        run, ended = self._run, self._ended
        if run is None or ended is None or not run.running:
            raise RefusedError("no load is being put (any more)")
        run.stop.set()
        await asyncio.wait([ended], timeout=_GOODBYE_S)
        return Done(f"stopped after {run.put:,} of {jobs(run.plan.load.jobs)}", run.put)

    def leave(self) -> None:
        """End it, whatever it is at: the process is about to."""
        if self._run is not None:
            self._run.stop.set()

    def told(self, autoscaler: ObjectName) -> dict[str, Any] | None:
        """The latest run that was started for that autoscaler, as JSON; None where there was none."""
        run = self._run
        return run.told() if run is not None and run.plan.autoscaler == autoscaler else None


_MOST_BYTES = 65_535
"""beanstalkd's own limit, unless it was told otherwise."""


class Labs:
    """Starts and stops the lab."""

    def __init__(self, lab: Lab, view: Callable[[], View], known: AutoscalerStore, threads: Threads) -> None:
        self._lab = lab
        self._view = view
        self._known = known
        self._threads = threads

    async def start(self, fields: Fields, where: NamedTube) -> Done:
        """Raises BadInputError, RefusedError, BeanstalkdError, BusyError."""
        load, name = load_of(fields), autoscaler_of(fields)
        body = b"x" * fields.whole("bodyBytes", 0, _MOST_BYTES, 16)
        priority = fields.whole("priority", 0, MOST_SECONDS, PRIORITY)
        ttr_s = fields.whole("ttr", 1, MOST_SECONDS, TTR_S)
        place = await self._threads.call(lambda: where.place)
        forecast = forecast_of(self._view(), self._known, name, where, load) if name else Forecast((), "")
        return self._lab.start(Plan(place, load, body, priority, ttr_s, name), forecast)

    async def stop(self) -> Done:
        """Raises RefusedError."""
        return await self._lab.stop()


def load_of(fields: Fields) -> Load:
    """Raises BadInputError."""
    load = Load(
        fields.whole("jobs", 1, MOST_JOBS),
        fields.whole("perSecond", 1, MOST_PER_SECOND),
        fields.whole("delay", 0, MOST_SECONDS, 0),
    )
    if load.jobs > load.per_second * MOST_S:
        raise BadInputError(
            f"{load.jobs:,} jobs at {load.per_second:,g} a second take more than the hour that a load may last; put"
            " fewer, or faster"
        )
    return load


def autoscaler_of(fields: Fields) -> ObjectName | None:
    """Whose page it is started from, if any. Raises BadInputError."""
    if "name" not in fields:
        return None
    return ObjectName(fields.text("namespace"), fields.text("name"))


def forecast_of(view: View, known: AutoscalerStore, name: ObjectName, where: NamedTube, load: Load) -> Forecast:
    """What that autoscaler should make of it, and what that rests on. Pure but for what it reads of the view."""
    judged, server = known.find(name), where.state.server.name
    position = first_external(judged.autoscaler) if judged else None
    if judged is None or position is None:
        return Forecast((), f"nothing is predicted: autoscaler {name} isn't known (any more)")
    if not any(link.autoscaler == name and link.covers(server, where.tube) for link in known.result.links):
        return Forecast((), f"nothing is predicted: {name} doesn't go by tube {where.tube}, as far as is known")
    if not isinstance(judged.observed[position], Total):
        return Forecast((), f"nothing is predicted: {judged.autoscaler.metrics[position]} has no value just now")
    pace = pace_of(view, judged, where)
    situation = Situation(judged.autoscaler, judged.observed, position, pace or 0.0)
    return Forecast(predicted(situation, load, view.now.unix_s), _assumption(pace))


def pace_of(view: View, judged: AutoscalerState, where: NamedTube) -> float | None:
    """Jobs that one pod finishes in a second, by how many are deleted now; None where that tells nothing."""
    deleted = rate(view, tube_now(view, where.state, where.tube), "deletedPerSecond")
    pods = judged.autoscaler.scale.status_replicas
    return deleted / pods if deleted and pods else None


def _assumption(pace: float | None) -> str:
    looks = f"the autoscaler looks every {LOOK_EVERY_S} s"
    if pace is None:
        return f"no job was finished lately, so nobody knows a pod's pace: predicted as if none were finished; {looks}"
    return f"each pod finishes {pace:.2g} jobs a second, as now (pods that waited for jobs may be faster); {looks}"
