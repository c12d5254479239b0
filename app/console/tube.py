"""One tube as JSON: its row, its last hour, what happened, and the autoscalers that go by it. Pure."""

from app.beanstalkd.reading import ServerState
from app.console.autoscalers import Known
from app.console.overview import Json, View, rate, row, server_json, tube_now
from app.metrics.built_in import STATES
from app.metrics.explanation import rounded
from app.metrics.rules import COUNTED, TIMES

_MOST_AUTOSCALERS = 10


def tube_page(view: View, state: ServerState, tube: str, known: Known) -> Json:
    """Everything about one tube of one server, whether it is there or not."""
    names = [link.autoscaler for link in view.links if link.is_about(state.server.name, tube)][:_MOST_AUTOSCALERS]
    here = tube_now(view, state, tube)
    return {
        "now": round(view.now.unix_s, 3),
        "server": server_json(view, state),
        "tube": row(view, here) | _more(view, state, tube),
        "history": view.history.series(here.where),
        "autoscalers": [series for name in dict.fromkeys(names) if (series := known.series(name)) is not None],
        "events": view.events.of(state.server, tube, names, view.now.unix_s),
    }


def _more(view: View, state: ServerState, tube: str) -> Json:
    here = tube_now(view, state, tube)
    fields = {**COUNTED, **TIMES}
    return {
        **{
            field: None if not here.known else number(here.stats) if here.stats else 0
            for field, number in fields.items()
            if field not in STATES
        },
        "seenAt": _seen_at(view, state, tube),
        "drainSeconds": _drain_s(view, state, tube),
    }


def _seen_at(view: View, state: ServerState, tube: str) -> float | None:
    """When it was last there, in unix seconds; None: never while this console ran."""
    stats = state.reading.tubes.get(tube) if state.reading else None
    return stats.answered_at.unix_s if stats else view.seen.gone(state.server).get(tube)


def _drain_s(view: View, state: ServerState, tube: str) -> float | int | None:
    """Until ready and reserved jobs are done at today's pace; None where nothing is being deleted."""
    here = tube_now(view, state, tube)
    pace = rate(view, here, "deletedPerSecond")
    if here.stats is None or not pace:
        return None
    return rounded((here.stats.current_jobs_ready + here.stats.current_jobs_reserved) / pace)
