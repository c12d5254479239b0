"""Metric values on the wire: `ExternalMetricValueList` (k8s.io/metrics/pkg/apis/external_metrics/v1beta1)."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from starlette.responses import Response

from app.api import table
from app.api.answers import answer_in, form_for
from app.api.discovery import GROUP, GROUP_VERSION, KIND
from app.api.list_options import ListOptions, list_options
from app.api.negotiation import Form, Offer, Wishes
from app.api.request_info import RequestInfo
from app.api.status import StatusError
from app.metrics.evaluation import (
    AmbiguousMetricError,
    Evaluation,
    MetricError,
    MetricValue,
    SameServerError,
    StaleReadingError,
    TooManyTubesError,
    UnknownMetricError,
    evaluate,
    spans_many_tubes,
)
from app.metrics.selector import Selector

_OFFER = Offer(frozenset({None, *table.KINDS}), server_version="v1")

_REASONS: Mapping[type[MetricError], str] = {
    UnknownMetricError: "NotFound",
    AmbiguousMetricError: "Conflict",
    SameServerError: "Conflict",
    TooManyTubesError: "BadRequest",
    StaleReadingError: "ServiceUnavailable",
}


async def list_values(info: RequestInfo, wishes: Wishes, given: Evaluation) -> Response:
    """Answer a request for one metric. Raises StatusError."""
    form = form_for(wishes, _OFFER)
    selector = checked(list_options(wishes.query)).selector
    if spans_many_tubes(info.resource, selector):  # tens of thousands of items would hold up everybody else
        return await asyncio.to_thread(_answer, info, form, selector, wishes, given)
    return _answer(info, form, selector, wishes, given)


def checked(options: ListOptions) -> ListOptions:
    """The same, of a list that can be had. Raises StatusError."""
    options.check()
    if options.watch:
        message = f'watch is not supported on resources of kind "*.{GROUP}"'
        raise StatusError("MethodNotAllowed", message, {"group": GROUP, "kind": "*"})
    return options


def _answer(info: RequestInfo, form: Form, selector: Selector, wishes: Wishes, given: Evaluation) -> Response:
    try:
        values = evaluate(info.resource, selector, given)
    except MetricError as error:
        details = {"group": GROUP, "kind": info.resource}
        raise StatusError(_REASONS[type(error)], str(error), details) from error
    items = list(map(_item, values))
    if form.kind is None:
        return answer_in(form, {"kind": KIND, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}, wishes)
    rows = list(zip(values, items, strict=True))
    return answer_in(form, table.table(rows, form.kind, info.namespace, wishes.query, given), wishes)


def _item(value: MetricValue) -> Mapping[str, Any]:
    return {
        "metricName": value.metric_name,
        "metricLabels": value.labels,
        "timestamp": _rfc3339(int(value.answered_at.unix_s)),
        "value": value.quantity,
    }


@lru_cache(maxsize=64)
def _rfc3339(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
