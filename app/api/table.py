"""Metric values as a `Table`: what `kubectl get tube-default` prints.

The columns show how much, of what, how fresh and from which server; `-o wide` adds what is needed to trace a number.
Source: k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.api.negotiation import Kind
from app.api.status import StatusError
from app.beanstalkd.reading import ServerState
from app.clock import Instant
from app.metrics.metric import Metric
from app.metrics.query import MetricValue
from app.text import duration_value

GROUP = "meta.k8s.io"
KINDS = frozenset(Kind("Table", GROUP, version) for version in ("v1", "v1beta1"))
_WIDE = 1
"""The priority of a column that only `-o wide` shows."""
_FRESH_S = 10
"""Seconds up to which an age has a decimal."""
_NOT_LABELS = {"server", "tube"}
"""Labels whose columns have fixed places."""

_INCLUDED = ("Metadata", "Object", "None", "")
"""What may come with each row; by default its metadata, which kubectl shows with `--show-labels`."""

Row = tuple[MetricValue, Mapping[str, Any]]
"""A value, and the same as an object on the wire."""


def table(rows: Sequence[Row], kind: Kind, metric: Metric, included: str) -> Mapping[str, Any]:
    """Return the values as a Table of one of the KINDS; `included`: one of the INCLUDED. Raises StatusError 400."""
    if included not in _INCLUDED:
        raise StatusError("BadRequest", f"includeObject is {included!r}; valid values: Metadata, Object, None")
    columns = list(_columns(rows, metric.servers, metric.context.now))
    return {
        "kind": "Table",
        "apiVersion": f"{GROUP}/{kind.version}",
        "metadata": {},
        "columnDefinitions": [column.definition for column in columns],
        "rows": [
            {
                "cells": [column.cell(row) for column in columns],
                "object": _object(row, included, kind, metric.query.namespace),
            }
            for row in rows
        ],
    }


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    description: str
    cell: Callable[[Row], str]
    priority: int = 0

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "type": "string",
            "format": "",
            "description": self.description,
            "priority": self.priority,
        }


def _columns(rows: Sequence[Row], servers: Sequence[ServerState], now: Instant) -> Iterator[_Column]:
    def of_row(row: Row) -> list[ServerState]:
        name = row[0].labels.get("server")
        return [state for state in servers if name in {None, state.server.name}]

    def names(row: Row) -> str:
        return row[0].labels.get("server") or ",".join(dict.fromkeys(state.server.name for state in of_row(row)))

    def addresses(row: Row) -> str:
        return ",".join(dict.fromkeys(state.server.address for state in of_row(row)))

    values = [value for value, _ in rows]
    of_tubes = not rows or any("tube" in value.labels for value in values)
    if of_tubes:
        yield _label("tube", "The tube whose jobs are counted.")
    metric = _Column("Metric", "The metric's name.", lambda row: row[0].metric_name, _WIDE if of_tubes else 0)
    if not of_tubes:
        yield metric
    for label in sorted({label for value in values for label in value.labels} - _NOT_LABELS):
        yield _label(label, f"The label {label!r}.")
    yield _Column("Value", "The metric's value, as the HPA gets it.", lambda row: row[0].quantity)
    yield _Column("Age", "Time since beanstalkd's reply.", lambda row: _duration(row[0].answered_at.age_s(now)))
    if any(value.window_s is not None for value in values):
        yield _Column("Window", "The time over which a rate is measured.", lambda row: _optional(row[0].window_s))
    if any(value.held_s is not None for value in values):
        yield _Column("Held", "For how long onFailure has held the value.", lambda row: _optional(row[0].held_s))
    yield _Column("Server", "The beanstalkd servers that were read.", names)
    if of_tubes:
        yield metric
    yield _Column("Read at", "Time of beanstalkd's reply.", lambda row: str(row[1]["timestamp"]), _WIDE)
    yield _Column("Address", "The addresses of these servers.", addresses, _WIDE)


def _label(label: str, description: str) -> _Column:
    return _Column(label.capitalize(), description, lambda row: row[0].labels.get(label, ""))


def _optional(seconds: float | None) -> str:
    return "" if seconds is None else _duration(seconds)


def _duration(seconds: float) -> str:
    """Return a duration as kubectl writes ages, with a decimal for short ones."""
    return f"{max(seconds, 0):.1f}s" if seconds < _FRESH_S else duration_value(int(seconds))


def _object(row: Row, included: str, kind: Kind, namespace: str) -> Mapping[str, Any] | None:
    value, item = row
    if included == "None":
        return None
    if included == "Object":
        return item
    # Without a name, such as the tube's: it would suggest that `resourceNames` in RBAC can restrict tubes.
    metadata = {"namespace": namespace, "labels": value.labels}
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{GROUP}/{kind.version}", "metadata": metadata}
