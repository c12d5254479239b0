"""Metric values on the wire: `ExternalMetricValueList` (k8s.io/metrics/pkg/apis/external_metrics/v1beta1).

Answers to what was asked before, for as long as nothing new was read: autoscalers of one tube all ask alike.
"""

import asyncio
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from app.api import table
from app.api.discovery import GROUP, GROUP_VERSION, KIND
from app.api.negotiation import Form, Offer, Wishes
from app.api.request import ListOptions, RequestInfo, list_options
from app.api.response import answer, answer_in, form_for
from app.api.status import StatusError
from app.beanstalkd.reading import Snapshot
from app.clock import Instant, rfc3339
from app.go_syntax import parse_query
from app.metrics.explanation import explanation
from app.metrics.metric import Evaluation, MetricError, MetricValue, Question
from app.metrics.resolve import Demanded, demanded, evaluate, may_be_long, rule_asked, servers_spanned

MOST_REMEMBERED = 256
"""Answers."""
MOST_BODY = 1 << 12
"""Bytes of one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    until_s: float
    """On the clock that only goes forward: then a reading in it is too old."""
    body: bytes
    media_type: str | None


class Remembered:
    """Those to one snapshot."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._answers: dict[Hashable, _Answer] = {}

    def answer(self, question: Hashable, given: Evaluation) -> Response | None:
        """The same as before, or None where it has to be found anew."""
        if given.snapshot is not self._snapshot:
            return None
        found = self._answers.get(question)
        if found is None or given.now.monotonic_s >= found.until_s:
            return None
        return Response(found.body, media_type=found.media_type)

    def keep(self, question: Hashable, given: Evaluation, response: Response, until_s: float) -> None:
        """For the next who asks, unless it is large."""
        if given.snapshot is not self._snapshot:
            self._snapshot, self._answers = given.snapshot, {}
        if len(response.body) <= MOST_BODY and len(self._answers) < MOST_REMEMBERED:
            self._answers[question] = _Answer(until_s, bytes(response.body), response.media_type)


_MOST_TO_REMEMBER = 1024
"""Bytes of a question."""
_OFFER = Offer(frozenset({None, *table.KINDS}), server_version="v1")


class Values:
    """Answers requests for metrics."""

    def __init__(self, want: Callable[[Demanded, Instant], None]) -> None:
        """`want` is told what each request makes us want to know."""
        self._want = want
        self._remembered = Remembered()
        # One: of ten thousand tubes each takes 30 MB meanwhile, and more threads make none of them sooner.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="long-answer")

    async def answer(self, info: RequestInfo, wishes: Wishes, given: Evaluation) -> Response:
        """Answer a request for one metric. Raises StatusError."""
        accept = wishes.headers.get(b"accept", b"")
        if len(info.path) + len(wishes.query) + len(accept) > _MOST_TO_REMEMBER:
            return await self._found(info, wishes, given)
        key = (info.resource, info.namespace, wishes.query, accept, wishes.line_breaks)
        return self._remembered.answer(key, given) or await self._found(info, wishes, given, key)

    async def _found(self, info: RequestInfo, wishes: Wishes, given: Evaluation, key: Hashable = None) -> Response:
        form = form_for(wishes, _OFFER)
        asked = Question(info.resource, info.namespace, checked(list_options(wishes.query)).selector)
        self._want(demanded(asked, given), given.now)
        if _wants_reasons(wishes.query):
            return await self._in_its_time(_explained, asked, form, wishes, given)
        response, fresh_until_s = await self._in_its_time(_answer, asked, form, wishes, given)
        if key is not None:
            self._remembered.keep(key, given, response, fresh_until_s)
        return response

    async def _in_its_time[Found](
        self,
        find: Callable[[Question, Form, Wishes, Evaluation], Found],
        asked: Question,
        form: Form,
        wishes: Wishes,
        given: Evaluation,
    ) -> Found:
        if may_be_long(asked, given):  # tens of thousands of items would hold up everybody else
            return await asyncio.get_running_loop().run_in_executor(self._thread, find, asked, form, wishes, given)
        return find(asked, form, wishes, given)


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


def _answer(asked: Question, form: Form, wishes: Wishes, given: Evaluation) -> tuple[Response, float]:
    """The answer, and until when (monotonic seconds) it would be the same."""
    try:
        values = evaluate(asked, given)
    except MetricError as error:
        details = {"group": GROUP, "kind": asked.metric}
        raise StatusError(error.reason, str(error), details) from error
    items = list(map(_item, values))
    if form.kind is not None:
        rows = list(zip(values, items, strict=True))
        return answer_in(form, table.table(rows, form.kind, asked, wishes.query, given), wishes), -math.inf
    content = {"kind": KIND, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}
    return answer_in(form, content, wishes), _fresh_until_s(values, asked, given)


def _fresh_until_s(values: Sequence[MetricValue], asked: Question, given: Evaluation) -> float:
    """Until the oldest reading that they rest on is too old, a listing that added no item too; what is held already
    counts anew each time."""
    rule = rule_asked(asked, given)
    max_age_s = given.max_age_s if rule is None or rule.max_age_s is None else rule.max_age_s
    listings = [state.reading.listed_at for state in servers_spanned(asked, given) if state.reading]
    answers = [value.answered_at for value in values]
    return min((one.monotonic_s for one in (*answers, *listings)), default=-math.inf) + max_age_s


def _item(value: MetricValue) -> Mapping[str, Any]:
    window = {} if value.window_s is None else {"window": value.window_s}
    return {
        "metricName": value.metric_name,
        "metricLabels": value.labels,
        "timestamp": rfc3339(value.answered_at),
        **window,
        "value": value.quantity,
    }
