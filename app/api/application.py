"""A request's way, top to bottom: what is it about, who asks, may they, answer, say what became of it.

The path is taken apart once, and what was authorised is what is then handled; so there is no second router that could
see another path than the authoriser did.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api import discovery
from app.api.authentication import Authenticator
from app.api.authorization import Authorizer
from app.api.probes import Probe
from app.api.request_info import RequestInfo, request_info
from app.api.status import StatusError, json_response, method_not_allowed, not_found, status_response
from app.api.telemetry import Telemetry
from app.api.values import list_values
from app.metrics.evaluation import Evaluation, metric_names

_READ_ONLY = frozenset({"GET", "HEAD"})
_MOST_AUDIT_ID = 64
_log = structlog.get_logger()


@dataclass(frozen=True)
class Application:
    """The ASGI application."""

    authenticator: Authenticator
    authorizer: Authorizer
    livez: Probe
    readyz: Probe
    telemetry: Telemetry
    evaluation: Callable[[], Evaluation]
    """What is known now."""
    version: Mapping[str, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        started = perf_counter()
        try:
            response = await self._respond(scope)
        except StatusError as error:
            response = status_response(error)
        except Exception:  # noqa: BLE001 - the loop's edge: the caller gets a Status, we get the traceback
            _log.exception("a request failed", method=scope["method"], path=scope["path"])
            response = status_response(StatusError("InternalError", "Internal error occurred: see beanscale's log"))
        response.raw_headers.append((b"audit-id", _audit_id(scope)))
        await response(scope, receive, send)
        self.telemetry.observe(response.status_code, perf_counter() - started)

    async def _respond(self, scope: Scope) -> Response:
        info = request_info(scope["method"], scope["path"], scope["query_string"])
        user = await self.authenticator.user(scope)
        await self.authorizer.check(user, info)
        return await self._handle(info, scope["query_string"])

    async def _handle(self, info: RequestInfo, query: bytes) -> Response:
        if info.resource:
            return await self._metric(info, query)
        path = info.path.rstrip("/")
        for probe in (self.livez, self.readyz):
            if path == probe.path or path.startswith(probe.path + "/"):
                return probe.answer(path, query)
        answer = self._documents().get(path)
        if answer is None:
            raise not_found()
        if info.method not in _READ_ONLY:
            raise method_not_allowed()
        return answer()

    async def _metric(self, info: RequestInfo, query: bytes) -> Response:
        is_metric = (
            (info.group, info.version) == (discovery.GROUP, discovery.VERSION) and info.namespace and not info.name
        )
        if not is_metric:
            raise not_found()
        if info.method != "GET":
            raise method_not_allowed()
        return await list_values(info.resource, query, self.evaluation())

    def _documents(self) -> Mapping[str, Callable[[], Response]]:
        return {
            "/apis": discovery.group_list,
            f"/apis/{discovery.GROUP}": discovery.group,
            f"/apis/{discovery.GROUP_VERSION}": lambda: discovery.resource_list(
                metric_names(self.evaluation().snapshot)
            ),
            "/healthz": lambda: self.livez.answer(self.livez.path, b""),
            "/metrics": self.telemetry.answer,
            "/openapi/v2": lambda: discovery.openapi(self.version["gitVersion"]),
            "/version": lambda: json_response(self.version),
        }


def _audit_id(scope: Scope) -> bytes:
    """kube-apiserver's, so that both logs can be laid side by side, or a new one."""
    for name, value in scope["headers"]:
        if (
            name == b"audit-id"
            and 0 < len(value) <= _MOST_AUDIT_ID
            and value.isascii()
            and value.decode().isprintable()
        ):
            return bytes(value)
    return str(uuid.uuid4()).encode()
