"""Metric values on the wire: `ExternalMetricValueList` (k8s.io/metrics/pkg/apis/external_metrics/v1beta1)."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response

from app.api.discovery import GROUP_VERSION
from app.api.status import StatusError, json_response
from app.metrics.evaluation import (
    AmbiguousMetricError,
    Evaluation,
    MetricError,
    MetricValue,
    SameServerError,
    StaleReadingError,
    UnknownMetricError,
    evaluate,
    spans_many_tubes,
)
from app.metrics.selector import EVERYTHING, Selector, SelectorError, parse_selector

_MOST_REMEMBERED = 256
"""Bytes of a query: a long one becomes thousands of conditions, a hundred times its size."""

_REASONS: Mapping[type[MetricError], str] = {
    UnknownMetricError: "NotFound",
    AmbiguousMetricError: "Conflict",
    SameServerError: "Conflict",
    StaleReadingError: "ServiceUnavailable",
}


async def list_values(metric: str, query: bytes, given: Evaluation) -> Response:
    """Answer a request for one metric. Raises StatusError."""
    selector = _selector(query)
    if spans_many_tubes(metric, selector):  # tens of thousands of items would hold up everybody else
        return await asyncio.to_thread(_answer, metric, selector, given)
    return _answer(metric, selector, given)


def _answer(metric: str, selector: Selector, given: Evaluation) -> Response:
    try:
        values = evaluate(metric, selector, given)
    except MetricError as error:
        raise StatusError(
            _REASONS[type(error)], str(error), {"group": GROUP_VERSION.partition("/")[0], "kind": metric}
        ) from error
    return json_response(
        {
            "kind": "ExternalMetricValueList",
            "apiVersion": GROUP_VERSION,
            "metadata": {},
            "items": [_item(value) for value in values],
        }
    )


def _item(value: MetricValue) -> dict[str, Any]:
    return {
        "metricName": value.metric_name,
        "metricLabels": value.labels,
        "timestamp": _rfc3339(int(value.answered_at.unix_s)),
        "value": value.quantity,
    }


@lru_cache(maxsize=64)
def _rfc3339(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _selector(query: bytes) -> Selector:
    """The selector in a query string; of several the first, as in Kubernetes. Raises StatusError."""
    if not query:
        return EVERYTHING
    return _remembered(query) if len(query) <= _MOST_REMEMBERED else _parsed(query)


def _parsed(query: bytes) -> Selector:
    text = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("labelSelector", [""])[0]
    try:
        return parse_selector(text)
    except SelectorError as error:
        raise StatusError("BadRequest", str(error)) from error


_remembered = lru_cache(maxsize=1024)(_parsed)  # an HPA asks with the same few words for ever
