"""HPAs and readings, for tests of the scaler."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.beanstalkd.reading import ServerState, Snapshot
from app.hpa.autoscaler import Autoscaler, Scale, parse_hpa
from app.hpa.decision import Changes
from app.metrics.query import EvaluationContext
from app.metrics.rules import Rules
from app.scaler.plan import Situation
from app.scaler.reading import queries, read_metrics, read_tubes, without_substitutes
from tests.unit.console.moments import MAX_AGE_S, at, server, tube
from tests.unit.hpa.hpas import hpa

BOTH = {"beanscale/immediate": "true", "beanscale/scale-to-zero": "10s"}


def annotated(annotations: Mapping[str, str], *metrics: Any, **fields: Any) -> Autoscaler:
    """Return an HPA with annotations."""
    document = hpa(*metrics, **fields)
    document["metadata"] |= {"annotations": dict(annotations), "uid": "u"}
    return parse_hpa(document)


def situation(
    autoscaler: Autoscaler,
    *servers: ServerState,
    spec: int = 1,
    present: int | None = None,
    idle_for_s: float = 0.0,
    changes: Changes = (),
    rules: Rules | None = None,
    second: float = 0.0,
) -> Situation:
    """Return the situation of this many pods, by these servers."""
    context = EvaluationContext(Snapshot(servers), at(second), MAX_AGE_S, without_substitutes(rules or Rules()))
    reading = read_metrics(queries(autoscaler), context)
    tubes = read_tubes(reading)
    scale = Scale(spec, spec if present is None else present)
    return Situation(autoscaler, scale, reading, tubes, idle_for_s, changes, at(second).unix_s)


def jobs(**states: int) -> ServerState:
    """Return a server with jobs in tube orders."""
    return server(tube(**states))


def with_put(state: ServerState, put: int, deleted: int = 0) -> ServerState:
    """Return the same server after so many jobs in its tubes."""
    assert state.reading is not None
    tubes = {name: each._replace(total_jobs=put, cmd_delete=deleted) for name, each in state.reading.tubes.items()}
    return replace(state, reading=replace(state.reading, tubes=tubes))


def names(found: Sequence[Any]) -> list[str]:
    """Return the reasons of obstacles."""
    return [each.reason for each in found]
