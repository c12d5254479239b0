"""Metric values on the wire: `ExternalMetricValueList` (k8s.io/metrics/pkg/apis/external_metrics/v1beta1)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from app.api import table
from app.api.answers import answer, answer_in, form_for
from app.api.discovery import GROUP, GROUP_VERSION, KIND
from app.api.list_options import ListOptions, list_options
from app.api.negotiation import Form, Offer, Wishes
from app.api.request_info import RequestInfo
from app.api.status import StatusError
from app.clock import Instant, rfc3339
from app.go_syntax import parse_query
from app.metrics.demanded import Demanded, demanded
from app.metrics.evaluation import evaluate, may_be_long
from app.metrics.explanation import explanation
from app.metrics.outcome import MetricError, MetricValue
from app.metrics.question import Evaluation, Question

_OFFER = Offer(frozenset({None, *table.KINDS}), server_version="v1")


async def list_values(
    info: RequestInfo, wishes: Wishes, given: Evaluation, want: Callable[[Demanded, Instant], None]
) -> Response:
    """Answer a request for one metric, and say what it made us want to know. Raises StatusError."""
    form = form_for(wishes, _OFFER)
    asked = Question(info.resource, info.namespace, checked(list_options(wishes.query)).selector)
    want(demanded(asked, given), given.now)
    answered = _explained if _wants_reasons(wishes.query) else _answer
    if may_be_long(asked, given):  # tens of thousands of items would hold up everybody else
        return await asyncio.to_thread(answered, asked, form, wishes, given)
    return answered(asked, form, wishes, given)


def checked(options: ListOptions) -> ListOptions:
    """The same, of a list that can be had. Raises StatusError."""
    options.check()
    if options.watch:
        message = f'watch is not supported on resources of kind "*.{GROUP}"'
        raise StatusError("MethodNotAllowed", message, {"group": GROUP, "kind": "*"})
    return options


def _wants_reasons(query: bytes) -> bool:
    return b"explain" in query and parse_query(query).get("explain", ["false"])[0].lower() not in {"0", "false"}


def _explained(asked: Question, _: Form, wishes: Wishes, given: Evaluation) -> Response:
    selector = parse_query(wishes.query).get("labelSelector", [""])[0]
    head = {"kind": "MetricExplanation", "apiVersion": GROUP_VERSION}
    return answer({**head, **explanation(asked, selector, given)}, wishes)


def _answer(asked: Question, form: Form, wishes: Wishes, given: Evaluation) -> Response:
    try:
        values = evaluate(asked, given)
    except MetricError as error:
        details = {"group": GROUP, "kind": asked.metric}
        raise StatusError(error.reason, str(error), details) from error
    items = list(map(_item, values))
    if form.kind is None:
        return answer_in(form, {"kind": KIND, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}, wishes)
    rows = list(zip(values, items, strict=True))
    return answer_in(form, table.table(rows, form.kind, asked, wishes.query, given), wishes)


def _item(value: MetricValue) -> Mapping[str, Any]:
    window = {} if value.window_s is None else {"window": value.window_s}
    return {
        "metricName": value.metric_name,
        "metricLabels": value.labels,
        "timestamp": rfc3339(value.answered_at),
        **window,
        "value": value.quantity,
    }
