"""Forwarding: metrics that beanscale doesn't serve are requested from the adapter that had the API before.

It can't slow down beanscale's own metrics: it has few threads of its own, a short queue and a deadline, and never gets
requests for built-in metrics or rules. Its discovery is read in the background, and doesn't decide what is forwarded:
KEDA lists one name for all.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from time import monotonic, perf_counter
from typing import Any, NoReturn
from urllib.parse import urlencode

import structlog
from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from app.api.external_metrics import checked_options
from app.api.negotiation import negotiate
from app.api.request import Request
from app.api.response import respond
from app.api.status import CODES, StatusError
from app.kube.reviews import ResourceAttributes
from app.kube.upstream import (
    GROUP,
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
from app.ratelimit import backoff
from app.settings import is_dns_label

DEADLINE_S = 5.0
"""For a response, waiting for a thread included: a third of what the whole request may take."""
MAX_WAITING = 64
"""Requests that wait for a thread; one more would only miss its deadline."""
PERIOD_S = 30.0
"""Between two reads of its discovery, at most."""
_LARGE = 1 << 16
"""Bytes of a response that is parsed only while no other such is: some take a hundred MiB meanwhile."""

_OURS = (TUBE_PREFIX, "beanstalkd_tube_")
"""How the names of the built-in metrics begin, future ones too."""
_OTHER_RESOURCES = frozenset({".", "..", "finalize", "status"})
"""Not metrics in a path: Kubernetes takes the last two as parts of the namespace before them."""
_NOT_FORWARDED = frozenset({"watch", "explain"})
_REASONS: Mapping[int, str] = {code: reason for reason, code in CODES.items()} | {429: "TooManyRequests"}
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_log = structlog.get_logger()


class Forwarding(Collector):
    """Requests metrics from the upstream adapter, and lists what it has. For one event loop."""

    def __init__(self, upstream: UpstreamAdapter, rules: Rules) -> None:
        """`rules`: the operator's own metrics."""
        self.names: tuple[str, ...] = ()
        """The metrics that discovery lists after beanscale's own: those of its last successful read."""
        self._upstream = upstream
        self._rules = rules
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="forwarding")
        self._pending: set[Future[Any]] = set()
        self._one_large = Lock()
        self._error: str | None = "not read yet"
        self._requests = Counter(
            "beanscale_forwarded_requests",
            "Requests forwarded to the upstream adapter, by HTTP status code of the response.",
            ["code"],
            registry=None,
        )
        self._durations = Histogram(
            "beanscale_forwarded_request_duration_seconds",
            "From the request to its response, waiting for a thread included.",
            buckets=_BUCKETS_S,
            registry=None,
        )

    def accepts(self, request: Request, what: ResourceAttributes) -> bool:
        """Return whether to forward the request.

        Decided by name and namespace only, so an internal error never forwards. False for built-in names, rules of this
        namespace, requests with beanscale's Via header (loop), and paths that could mean something else upstream.
        Rules of other namespaces are forwarded, so the response doesn't reveal them.
        """
        name = what.resource.lower()
        if (
            name.startswith(_OURS)
            or self._rules.rule_for(what.namespace, name)
            or any(header == b"via" and VIA.encode() in value for header, value in request.raw_headers)
        ):
            return False
        return what.resource not in _OTHER_RESOURCES and is_dns_label(what.namespace)

    async def respond(self, request: Request, what: ResourceAttributes) -> Response:
        """Return its response, as JSON or YAML. Raises StatusError."""
        form = negotiate(request.header(b"accept"))
        checked_options(request)
        # encoded again from what was parsed, which is what was authorized
        parameters = {name: values for name, values in request.parameters.items() if name not in _NOT_FORWARDED}
        query = urlencode(parameters, doseq=True, errors="surrogateescape")

        def get(until: float) -> Response:
            content = self._upstream.values(what.namespace, what.resource, query, until)
            with self._one_large if len(content) > _LARGE else nullcontext():
                seconds_left(until)
                values = read_values(content)
                try:
                    return respond(values, request, form)
                except RecursionError as error:  # YAML's encoder goes less deep than JSON's parser
                    raise UpstreamError("answered with something nested too deeply to be passed on") from error

        started, code = perf_counter(), 500
        try:
            response = await self._run(get)
            code = response.status_code
        except UpstreamStatusError as error:
            code = error.code
            details: Mapping[str, Any] = {"group": GROUP, "kind": what.resource}
            if error.retry_after_s:
                details = {**details, "retryAfterSeconds": error.retry_after_s}
            reason = error.reason or _REASONS.get(code, "")
            raise StatusError(reason, error.message, details, code) from error
        except UpstreamError as error:
            code = CODES["ServiceUnavailable"]
            message = (
                f"beanscale doesn't serve metric {what.resource}, and upstream adapter {self._upstream.name} {error}"
            )
            raise StatusError("ServiceUnavailable", message, {"group": GROUP, "kind": what.resource}) from error
        finally:
            self._requests.labels(code).inc()
            self._durations.observe(perf_counter() - started)
        return response

    async def run(self) -> NoReturn:
        """Read its discovery forever."""
        pauses = backoff(PERIOD_S, PERIOD_S)
        while True:
            await self.read_discovery()
            await asyncio.sleep(next(pauses))

    async def read_discovery(self) -> None:
        """Read its discovery once. After a failure the names read before stay."""
        try:
            listed = await self._run(self._upstream.metrics)
        except UpstreamError as error:
            if str(error) != self._error:  # it is retried forever, and logged once
                _log.warning("upstream metric discovery failed", upstream=self._upstream.name, error=str(error))
            self._error = str(error)
            return
        names = []
        for metric in listed:
            rule = self._rules.metrics.get(metric.lower())
            if not metric.lower().startswith(_OURS) and not (rule is not None and rule.is_public):
                names.append(metric)
        self.names = tuple(names)
        if self._error is not None:
            _log.info("upstream metric discovery succeeded", upstream=self._upstream.name, listed=len(names))
        self._error = None

    def warning(self) -> str | None:
        """Return for /readyz?verbose why `names` may be outdated; never a reason to be unready."""
        return f"upstream adapter {self._upstream.name} {self._error}" if self._error else None

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for /metrics."""
        yield GaugeMetricFamily(
            "beanscale_forward_up",
            "1 while the upstream adapter's discovery can be read; the names read last stay in use.",
            value=float(self._error is None),
        )
        yield from self._requests.collect()
        yield from self._durations.collect()

    async def _run[Result](self, call: Callable[[float], Result]) -> Result:
        """Run the blocking `call` in a thread; its argument is its deadline (monotonic). Raises UpstreamError."""
        if len(self._pending) >= MAX_CONNECTIONS + MAX_WAITING:
            raise UpstreamError(f"has {len(self._pending)} requests pending already; retry later")
        future = self._threads.submit(call, monotonic() + DEADLINE_S)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise UpstreamError(f"timed out after {DEADLINE_S:g} seconds; check its pods") from error
