"""Metric values as a `Table`: what `kubectl get tube-default` prints.

Columns: those that answer "how much, of what, how fresh, whence"; `-o wide` adds what is needed to trace a number.
Source: k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.api.negotiation import Kind
from app.api.status import StatusError
from app.clock import Instant
from app.go_syntax import parse_query, quote
from app.metrics.evaluation import Evaluation, MetricValue

GROUP = "meta.k8s.io"
KINDS = frozenset(Kind("Table", GROUP, version) for version in ("v1", "v1beta1"))
_WIDE = 1
"""Priority of a column that only `-o wide` shows."""
_FRESH_S = 10
"""Seconds up to which an age has a decimal."""
_NOT_LABELS = {"tube", "server"}
"""Labels with columns of their own places."""

_INCLUDED = ("Metadata", "Object", "None", "")
"""What may come with each row; by default its metadata, which kubectl shows with `--show-labels`."""

Row = tuple[MetricValue, Mapping[str, Any]]
"""A value, and the same as an object on the wire."""


def table(rows: Sequence[Row], kind: Kind, namespace: str, query: bytes, given: Evaluation) -> Mapping[str, Any]:
    """The values as a Table of one of the KINDS. Raises StatusError 400."""
    included = _included(query)
    labels = sorted({label for value, _ in rows for label in value.labels} - _NOT_LABELS)
    addresses = {state.server.name: state.server.address for state in given.snapshot.servers}
    return {
        "kind": "Table",
        "apiVersion": f"{GROUP}/{kind.version}",
        "metadata": {},
        "columnDefinitions": _columns(labels),
        "rows": [
            {"cells": _cells(row, labels, addresses, given.now), "object": _object(row, included, kind, namespace)}
            for row in rows
        ],
    }


def _columns(labels: Iterable[str]) -> list[Mapping[str, Any]]:
    return [
        _column("Tube", "The tube that is counted."),
        *(_column(label.capitalize(), f"The label {label!r}.") for label in labels),
        _column("Value", "The metric's value, as the autoscaler gets it."),
        _column("Age", "Time since beanstalkd said so."),
        _column("Server", "The beanstalkd servers that were asked."),
        _column("Metric", "The metric's name.", _WIDE),
        _column("Read at", "When beanstalkd said so.", _WIDE),
        _column("Address", "Where these servers are.", _WIDE),
    ]


def _column(name: str, description: str, priority: int = 0) -> Mapping[str, Any]:
    return {"name": name, "type": "string", "format": "", "description": description, "priority": priority}


def _cells(row: Row, labels: Iterable[str], addresses: Mapping[str, str], now: Instant) -> list[str]:
    value, item = row
    servers = [value.labels["server"]] if "server" in value.labels else list(addresses)
    return [
        value.labels.get("tube", ""),
        *(value.labels.get(label, "") for label in labels),
        value.quantity,
        _duration(value.answered_at.age_s(now)),
        ",".join(servers),
        value.metric_name,
        item["timestamp"],
        ",".join(addresses[server] for server in servers),
    ]


def _duration(seconds: float) -> str:
    """As kubectl writes ages, and finer where it is good."""
    if seconds < _FRESH_S:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _included(query: bytes) -> str:
    wish = parse_query(query).get("includeObject", [""])[0]
    if wish not in _INCLUDED:
        reason = f"includeObject: Invalid value: {quote(wish)}: must be 'Metadata', 'Object', 'None', or empty"
        raise StatusError("BadRequest", f"Unable to convert to Table as requested: {reason}")
    return wish


def _object(row: Row, included: str, kind: Kind, namespace: str) -> Mapping[str, Any] | None:
    value, item = row
    if included == "None":
        return None
    if included == "Object":
        return item
    metadata = {"name": value.labels.get("tube", value.metric_name), "namespace": namespace, "labels": value.labels}
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{GROUP}/{kind.version}", "metadata": metadata}
