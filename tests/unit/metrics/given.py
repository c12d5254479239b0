"""Readings and rules, as tests write them down."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Counts, Failure, NextJob, Reading, ServerState, Snapshot
from app.clock import Instant
from app.metrics.formula import parse_formula
from app.metrics.query import EvaluationContext, MetricQuery, MetricValue
from app.metrics.resolve import resolve
from app.metrics.rules import Glob, Grant, Label, Rule, Rules
from app.metrics.selector import parse_selector
from app.settings import Server

NOW = Instant(1_800_000_000, 1000)
NONE = TubeStats("", NOW, *[0] * 13)
TUBE, SERVER = frozenset({Label.TUBE}), frozenset({Label.SERVER})


def ago(seconds: float) -> Instant:
    return Instant(NOW.unix_s - seconds, NOW.monotonic_s - seconds)


def tube(name: str, *, ready: int = 0, reserved: int = 0, age_s: float = 1, **fields: int) -> TubeStats:
    """By the fields' names in the protocol."""
    counted = {"current_jobs_ready": ready, "current_jobs_reserved": reserved} | fields
    return NONE._replace(name=name, answered_at=ago(age_s), **counted)


def reading(*tubes: TubeStats, server_id: str = "id", age_s: float = 1, **more: Any) -> Reading:
    return replace(Reading.of(server_id, ago(age_s), tubes), **more)


def server(
    name: str, *tubes: TubeStats, age_s: float = 1, failure: str = "", names_tube: bool = False, **more: Any
) -> ServerState:
    """One that was read `age_s` seconds ago, its tubes as they say themselves."""
    failed = Failure(failure, ago(age_s), names_tube) if failure else None
    server_id = more.pop("server_id", f"id of {name}")
    read = reading(*tubes, server_id=server_id, age_s=age_s, **more)
    return ServerState(Server(name, f"{name}.example", 11300), read, failed, attempted=True)


def unread(name: str) -> ServerState:
    return ServerState(Server(name, f"{name}.example", 11300))


def known(
    *states: ServerState, rules: Iterable[Rule] = (), tenancy: Mapping[str, str] | None = None, max_age_s: float = 15
) -> EvaluationContext:
    """`tenancy`: patterns of namespaces → patterns of tubes, separated by spaces."""
    grants = tuple(Grant(glob(namespaces), glob(tubes)) for namespaces, tubes in (tenancy or {}).items())
    return EvaluationContext(Snapshot(states), NOW, max_age_s, Rules({rule.name: rule for rule in rules}, grants))


def glob(patterns: str) -> Glob:
    return Glob(tuple(patterns.split()))


def asked(metric: str, selector: str, given: EvaluationContext, namespace: str = "shop") -> Sequence[MetricValue]:
    return resolve(MetricQuery(metric, namespace, parse_selector(selector)), given).values()


def explained(metric: str, selector: str, given: EvaluationContext, namespace: str = "shop") -> Any:
    return resolve(MetricQuery(metric, namespace, parse_selector(selector)), given).explain(selector)


def quantities(values: Iterable[MetricValue]) -> list[str]:
    return [value.quantity for value in values]


def by_label(values: Iterable[MetricValue], label: str) -> dict[str, str]:
    return {value.labels[label]: value.quantity for value in values}


def counts(age_s: float, total: int, deleted: int) -> Counts:
    return Counts(ago(age_s), total, deleted)


def next_job(age_s: int | None, asked_s: float = 1) -> NextJob:
    return NextJob(ago(asked_s), age_s)


def rule(name: str = "backlog", tubes: str = "*", value: str = "ready + reserved", **more: Any) -> Rule:
    return Rule(name, glob(tubes), parse_formula(value), **more)
