"""Metrics that aren't ours are asked of the adapter that had the API before, so that both live in one cluster.

Nothing of ours hangs on it: it has threads of its own, few, with a short queue and a deadline; a name of ours is never
asked there; and its discovery is read beside all requests, each of which is asked of it whatever that lists (KEDA lists
one name for all).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from random import uniform
from threading import Lock
from time import monotonic, perf_counter
from typing import Any, NoReturn
from urllib.parse import urlencode

import structlog
from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from app.api.discovery import GROUP, GROUP_VERSION
from app.api.external_metrics import checked
from app.api.negotiation import Wishes
from app.api.request import RequestInfo, list_options
from app.api.response import answer_in, form_for
from app.api.status import CODES, StatusError
from app.go_syntax import parse_query
from app.kube.upstream import (
    MAX_CONNECTIONS,
    VIA,
    UpstreamAdapter,
    UpstreamError,
    UpstreamStatusError,
    read_values,
    seconds_left,
)
from app.metrics.built_in import TUBE_PREFIX
from app.metrics.rules import Rules
from app.settings import is_dns_label

DEADLINE_S = 5.0
"""For an answer to be there, waiting for a thread included: a third of what the whole request may take."""
MOST_WAITING = 64
"""Requests that wait for a thread; one more would only miss its deadline."""
PERIOD_S = 30.0
"""Between two looks at its discovery."""
_LARGE = 1 << 16
"""Bytes of an answer from which it is read only when no other such is: some take a hundred MiB meanwhile."""

_OURS = (TUBE_PREFIX, "beanstalkd_tube_")
"""How the names of the built-in metrics begin, those that are yet to come too."""
_NO_NAMES = frozenset({".", ".."})
_NOT_PASSED_ON = frozenset({"watch", "explain"})
_REASONS: Mapping[int, str] = {code: reason for reason, code in CODES.items()} | {429: "TooManyRequests"}
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_log = structlog.get_logger()


class Forwarding(Collector):
    """Asks the incumbent, and knows what it has. For one event loop."""

    def __init__(self, incumbent: UpstreamAdapter, rules: Rules) -> None:
        """`rules`: the operator's own metrics."""
        self._incumbent = incumbent
        self._rules = rules
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="forwarding")
        self._under_way: set[Future[Any]] = set()
        self._one_large = Lock()
        self._names: tuple[str, ...] = ()
        self._failure: str | None = "it hasn't been asked yet"
        self._requests = Counter(
            "beanscale_forwarded_requests",
            "Requests that the incumbent was asked for, by the HTTP status code of our answer.",
            ["code"],
            registry=None,
        )
        self._durations = Histogram(
            "beanscale_forwarded_request_duration_seconds",
            "From the question to its answer, waiting for a thread included.",
            buckets=_BUCKETS_S,
            registry=None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that discovery lists after ours: as its own listed them last."""
        return self._names

    def takes(self, info: RequestInfo, wishes: Wishes) -> bool:
        """Whether this is the incumbent's to answer: by its name and who asks, so that no fault of ours sends any.

        A rule that isn't for the namespace is none there: what the other says of its name tells nobody that it exists.
        Not where another beanscale asks, and not for a path that could mean anything else there than here.
        """
        name = info.resource.lower()
        if name.startswith(_OURS) or self._rules.asked_by(info.namespace, name) or VIA in wishes.header(b"via"):
            return False
        whole = f"/apis/{GROUP_VERSION}/namespaces/{info.namespace}/{info.resource}"
        is_plain = info.path.rstrip("/") == whole and info.resource not in _NO_NAMES
        return is_plain and is_dns_label(info.namespace)

    async def answer(self, info: RequestInfo, wishes: Wishes) -> Response:
        """Its answer, in the form that was asked for, but never a Table. Raises StatusError."""
        form = form_for(wishes)
        checked(list_options(wishes.query))
        query = _passed_on(wishes.query)

        def ask(until: float) -> Response:
            content = self._incumbent.values(info.namespace, info.resource, query, until)
            with self._one_large if len(content) > _LARGE else nullcontext():
                seconds_left(until)
                return answer_in(form, read_values(content), wishes)

        started = perf_counter()
        try:
            response = await self._asked(ask)
        except UpstreamError as error:
            failure = self._relayed(info.resource, error)
            self._observe(failure.code, perf_counter() - started)
            raise failure from error
        self._observe(response.status_code, perf_counter() - started)
        return response

    async def keep(self) -> NoReturn:
        """Read its discovery for ever."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S * uniform(0.8, 1.2))  # noqa: S311 - spreads load, hides nothing

    async def look(self) -> None:
        """Read its discovery once. Where that fails, the names read before stay."""
        try:
            listed = await self._asked(self._incumbent.metrics)
        except UpstreamError as error:
            if str(error) != self._failure:  # it is asked again for ever, and this is told once
                _log.warning(
                    "can't read the metrics of the incumbent", incumbent=self._incumbent.name, reason=str(error)
                )
            self._failure = str(error)
            return
        self._names = tuple(name for name in listed if not self._is_listed(name))
        if self._failure is not None:
            _log.info("forwarding what isn't ours", incumbent=self._incumbent.name, listed=len(self._names))
        self._failure = None

    def remark(self) -> str | None:
        """For /readyz?verbose: never a reason to be unready."""
        return f"{self._incumbent.name}, which has the other metrics, {self._failure}" if self._failure else None

    def collect(self) -> Iterable[Metric]:
        """For /metrics."""
        yield GaugeMetricFamily(
            "beanscale_forward_up",
            "1 while the last look at the incumbent's discovery succeeded; what it listed last counts.",
            value=float(self._failure is None),
        )
        yield from self._requests.collect()
        yield from self._durations.collect()

    def _is_listed(self, metric: str) -> bool:
        """Whether discovery has it, or could, as ours."""
        name = metric.lower()
        rule = self._rules.metrics.get(name)
        return name.startswith(_OURS) or (rule is not None and rule.is_for_all)

    async def _asked[Answer](self, ask: Callable[[float], Answer]) -> Answer:
        """What `ask`, which blocks and is told until when, returns or raises. Raises UpstreamError."""
        if len(self._under_way) >= MAX_CONNECTIONS + MOST_WAITING:
            raise UpstreamError(f"is asked for {len(self._under_way)} answers already; ask again later")
        asked = self._threads.submit(ask, monotonic() + DEADLINE_S)
        self._under_way.add(asked)
        asked.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.wrap_future(asked)
        except TimeoutError as error:
            raise UpstreamError(f"timed out after {DEADLINE_S:g} seconds; check its pods") from error

    def _relayed(self, metric: str, error: UpstreamError) -> StatusError:
        details = {"group": GROUP, "kind": metric}
        if isinstance(error, UpstreamStatusError):
            return RelayedError(error, details)
        return StatusError(
            "ServiceUnavailable",
            f"metric {metric} isn't beanscale's own, and {self._incumbent.name}, which has the others, {error}",
            details,
        )

    def _observe(self, code: int, duration_s: float) -> None:
        self._requests.labels(code).inc()
        self._durations.observe(duration_s)


class RelayedError(StatusError):
    """The incumbent's own refusal, in its own words."""

    def __init__(self, refusal: UpstreamStatusError, details: Mapping[str, Any]) -> None:
        reason = refusal.reason or _REASONS.get(refusal.code, "")
        wait = {"retryAfterSeconds": refusal.retry_after_s} if refusal.retry_after_s else {}
        super().__init__(reason, refusal.message, {**details, **wait})
        self._code = refusal.code

    @property
    def code(self) -> int:
        """As it was there."""
        return self._code


def _passed_on(query: bytes) -> str:
    """What of a query concerns the incumbent: written anew from what was read, which is what was authorised."""
    values = {key: listed for key, listed in parse_query(query).items() if key not in _NOT_PASSED_ON}
    return urlencode(values, doseq=True, errors="surrogateescape")
