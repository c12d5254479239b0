"""The load lab as it is asked for: its plan, and what the autoscaler should make of it."""

from collections.abc import Callable

from app.autoscaling.wish import Total
from app.console.autoscalers import Judged, Known, first_external
from app.console.fields import BadInputError, Fields
from app.console.lab import MOST_JOBS, MOST_PER_SECOND, MOST_S, Forecast, Lab, Plan
from app.console.prediction import LOOK_EVERY_S, Load, Situation, predicted
from app.console.threads import Threads
from app.console.view import View, rate, tube_now
from app.console.wanted import PRIORITY, TTR_S, NamedTube
from app.settings import ObjectName
from app.tubes.acting import Done
from app.tubes.actions import MOST_SECONDS

_MOST_BYTES = 65_535
"""beanstalkd's own limit, unless it was told otherwise."""


class Labs:
    """Starts and stops the lab."""

    def __init__(self, lab: Lab, view: Callable[[], View], known: Known, threads: Threads) -> None:
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


def forecast_of(view: View, known: Known, name: ObjectName, where: NamedTube, load: Load) -> Forecast:
    """What that autoscaler should make of it, and what that rests on. Pure but for what it reads of the view."""
    judged, server = known.find(name), where.state.server.name
    position = first_external(judged.autoscaler) if judged else None
    if judged is None or position is None:
        return Forecast((), f"nothing is predicted: autoscaler {name} isn't known (any more)")
    if not any(link.autoscaler == name and link.is_about(server, where.tube) for link in known.look.links):
        return Forecast((), f"nothing is predicted: {name} doesn't go by tube {where.tube}, as far as is known")
    if not isinstance(judged.seen[position], Total):
        return Forecast((), f"nothing is predicted: {judged.autoscaler.metrics[position]} has no value just now")
    pace = pace_of(view, judged, where)
    situation = Situation(judged.autoscaler, judged.seen, position, pace or 0.0)
    return Forecast(predicted(situation, load, view.now.unix_s), _assumption(pace))


def pace_of(view: View, judged: Judged, where: NamedTube) -> float | None:
    """Jobs that one pod finishes in a second, by how many are deleted now; None where that tells nothing."""
    deleted = rate(view, tube_now(view, where.state, where.tube), "deletedPerSecond")
    pods = judged.autoscaler.scale.present
    return deleted / pods if deleted and pods else None


def _assumption(pace: float | None) -> str:
    looks = f"the autoscaler looks every {LOOK_EVERY_S} s"
    if pace is None:
        return f"no job was finished lately, so nobody knows a pod's pace: predicted as if none were finished; {looks}"
    return f"each pod finishes {pace:.2g} jobs a second, as now (pods that waited for jobs may be faster); {looks}"
