"""The external metrics API: `ExternalMetricValueList` (k8s.io/metrics/pkg/apis/external_metrics/v1beta1).

Responses are cached until a new snapshot is published: the HPAs of one tube all send the same query.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from app.api import table
from app.api.discovery import KIND
from app.api.fair_thread import FairThread
from app.api.negotiation import Representation, negotiate
from app.api.request import ListOptions, Request
from app.api.response import respond
from app.api.status import StatusError
from app.beanstalkd.reading import Snapshot
from app.clock import Instant, rfc3339
from app.kube.reviews import ResourceAttributes
from app.kube.upstream import GROUP, GROUP_VERSION
from app.metrics.metric import Metric
from app.metrics.query import EvaluationContext, MetricError, MetricQuery, WantedTubes
from app.metrics.resolve import resolve

MAX_CACHED = 256
"""Responses."""
MAX_CACHED_BODY = 1 << 12
"""Bytes of one."""
_MAX_CACHED_KEY = 1024
"""Bytes."""
_NOTHING = None, -math.inf


class ResponseCache:
    """The responses to one snapshot, the latest that was queried."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._responses: dict[Hashable, tuple[Response, float]] = {}
        """Each with the monotonic seconds from which on a reading in it is too old."""

    def get(self, key: Hashable, context: EvaluationContext) -> Response | None:
        """Return the response to the same query of the same snapshot, or None."""
        if context.snapshot is not self._snapshot:  # it is newer: queries arrive with the latest
            self._snapshot, self._responses = context.snapshot, {}
        response, fresh_until_s = self._responses.get(key, _NOTHING)
        return response if context.now.monotonic_s < fresh_until_s else None

    def put(self, key: Hashable, context: EvaluationContext, response: Response, fresh_until_s: float) -> None:
        """Cache a response, unless it is large or a newer snapshot has been queried since."""
        is_small = len(response.body) <= MAX_CACHED_BODY and len(self._responses) < MAX_CACHED
        if is_small and context.snapshot is self._snapshot:
            self._responses[key] = response, fresh_until_s


class ExternalMetrics:
    """The endpoint of all metrics."""

    def __init__(
        self,
        want: Callable[[str, WantedTubes, Instant], None],
        scaling: Callable[[str], Mapping[str, Any]] = lambda _: {"enabled": False},
    ) -> None:
        """`want` is called with what each query of a namespace requires to be read.

        `scaling` returns what explanations show of this server's scaler to a namespace.
        """
        self._want = want
        self._scaling = scaling
        self._cache = ResponseCache()
        # One: a response about ten thousand tubes takes 30 MB meanwhile, and more threads don't make any faster.
        self._thread = FairThread("long-response")

    async def respond(self, request: Request, what: ResourceAttributes, context: EvaluationContext) -> Response:
        """Return the values of the metric that was authorized. Raises StatusError."""
        accept = request.header(b"accept")
        key = (what.resource, what.namespace, request.query, accept, request.wants_indent)
        cached = self._cache.get(key, context)
        if cached is not None:
            return cached
        form = negotiate(accept, table.KINDS)
        metric = resolve(MetricQuery(what.resource, what.namespace, checked_options(request).selector), context)
        self._want(what.namespace, metric.wanted(), context.now)
        is_explained = (request.parameter("explain") or "false").lower() not in {"0", "false"}
        build = partial(_explain, self._scaling(what.namespace)) if is_explained else _respond
        if metric.is_long:  # tens of thousands of items would block all other requests
            user = request.caller and request.caller.user.name
            response, fresh_until_s = await self._thread.run(user, partial(build, metric, form, request))
        else:
            response, fresh_until_s = build(metric, form, request)
        if len(what.resource) + len(what.namespace) + len(request.query) + len(accept) <= _MAX_CACHED_KEY:
            self._cache.put(key, context, response, fresh_until_s)
        return response


def checked_options(request: Request) -> ListOptions:
    """Return the options of a list that can be had. Raises StatusError."""
    options = request.options
    if options.error:
        raise StatusError("BadRequest", options.error)
    if options.watch:
        message = f'watch is not supported on resources of kind "*.{GROUP}"'
        raise StatusError("MethodNotAllowed", message, {"group": GROUP, "kind": "*"})
    return options


def _explain(scaling: Mapping[str, Any], metric: Metric, _: Representation, request: Request) -> tuple[Response, float]:
    explained = metric.explain(request.parameters.get("labelSelector", [""])[0])
    content = {"kind": "MetricExplanation", "apiVersion": GROUP_VERSION, **explained, "scaling": scaling}
    return respond(content, request, negotiate(request.header(b"accept"))), -math.inf


def _respond(metric: Metric, form: Representation, request: Request) -> tuple[Response, float]:
    """Return the response, and until when (monotonic seconds) it stays the same."""
    try:
        values = metric.values()
    except MetricError as error:
        raise StatusError(error.reason, str(error), {"group": GROUP, "kind": metric.query.metric}) from error
    items = [
        {
            "metricName": value.metric_name,
            "metricLabels": value.labels,
            "timestamp": rfc3339(value.answered_at),
            **({} if value.window_s is None else {"window": value.window_s}),
            "value": value.quantity,
        }
        for value in values
    ]
    if form.kind is not None:
        rows = list(zip(values, items, strict=True))
        content = table.table(rows, form.kind, metric, request.parameter("includeObject") or "")
        return respond(content, request, form), -math.inf
    content = {"kind": KIND, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}
    return respond(content, request, form), metric.fresh_until_s(values)
