"""What each path answers, for who may ask: metrics, discovery, descriptions, probes and our own figures.

Paths are told apart as in Kubernetes' servers: the API's own by their parts, however many slashes end them, and for one
method only; all others to the letter, and for any method. What there isn't is answered with what there is.
Sources: k8s.io/apiserver/pkg/server/handler.go and mux/pathrecorder.go.

A request's way, top to bottom: is there room, what is it about, who asks (and as whom), may they, answer, note it.

The path is taken apart once, and what was authorised is what is then handled; so there is no second router that could
see another path than the authoriser did.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api import discovery, impersonation
from app.api.audit import Audit, Trail
from app.api.authentication import Authenticator
from app.api.authorization import ALWAYS_ALLOWED, PRIVILEGED, Authorizer
from app.api.external_metrics import Values
from app.api.forwarding import Forwarding
from app.api.limits import Deadline, Requests, TooManyRequestsError
from app.api.negotiation import JSON, MEDIA_TYPES, PROTOBUF, Wishes, check_content_type, check_route
from app.api.openapi import V2_PATH, V3_PATH, OpenApi
from app.api.probes import Probe
from app.api.request import RequestInfo, check_timeout, request_info
from app.api.response import compressed, raw_answer, refusal
from app.api.status import StatusError, method_not_allowed, not_found
from app.api.telemetry import Telemetry
from app.metrics.metric import Evaluation
from app.metrics.resolve import metric_names

_GROUP_PATH = f"/apis/{discovery.GROUP}"
_METRICS_PATH = f"{_GROUP_PATH}/{discovery.VERSION}/namespaces/"
_SLASHES_OF_METRIC = 6
"""In /apis/GROUP/VERSION/namespaces/NAMESPACE/METRIC."""


@dataclass(frozen=True)
class Handler:
    """All that is served."""

    livez: Probe
    readyz: Probe
    telemetry: Telemetry
    evaluation: Callable[[], Evaluation]
    """What is known now."""
    values: Values
    version: Mapping[str, str]
    port: int
    forwarding: Forwarding | None = None
    """Whom to ask for what isn't ours."""

    async def handle(self, info: RequestInfo, wishes: Wishes) -> Response:
        """Answer what was authorised. Raises StatusError."""
        if info.path.startswith(_METRICS_PATH) and info.path.rstrip("/").count("/") == _SLASHES_OF_METRIC:
            return await self._metric(info, wishes)
        if info.path in {"/apis", "/apis/"} or _is_below(info.path, _GROUP_PATH) or _is_below(info.path, "/version"):
            return self._api(info, wishes)
        return self._other(info.path, wishes)

    async def _metric(self, info: RequestInfo, wishes: Wishes) -> Response:
        if info.method != "GET":
            raise method_not_allowed()
        check_route(wishes.header(b"accept"), MEDIA_TYPES, streams=True)
        if self.forwarding is not None and self.forwarding.takes(info, wishes):
            return await self.forwarding.answer(info, wishes)
        return await self.values.answer(info, wishes, self.evaluation())

    def _api(self, info: RequestInfo, wishes: Wishes) -> Response:
        path = "/" + info.path.strip("/")
        answer = self._api_paths.get(path)
        if answer is None:
            raise not_found()
        if info.method != "GET":
            raise method_not_allowed()
        only_json = path == "/version"
        check_content_type(wishes.header(b"content-type"), (JSON,) if only_json else (*MEDIA_TYPES, PROTOBUF))
        check_route(wishes.header(b"accept"), (JSON,) if only_json else MEDIA_TYPES)
        return answer(wishes)

    def _other(self, path: str, wishes: Wishes) -> Response:
        answer = self._other_paths.get(path)
        if answer is not None:
            return answer(wishes)
        if path.startswith(V3_PATH + "/"):
            return self._openapi.group(path, wishes)
        return raw_answer({"paths": self._paths}, 200 if path in {"/", "/index.html"} else 404)

    @cached_property
    def _api_paths(self) -> Mapping[str, Callable[[Wishes], Response]]:
        return {
            "/apis": lambda wishes: discovery.groups(self._metric_names(), self.port, wishes),
            _GROUP_PATH: discovery.group,
            f"/apis/{discovery.GROUP_VERSION}": lambda wishes: discovery.resources(self._metric_names(), wishes),
            "/version": lambda _: raw_answer(self.version),
        }

    @cached_property
    def _other_paths(self) -> Mapping[str, Callable[[Wishes], Response]]:
        probes = {path: answer for probe in self._probes for path, answer in probe.paths.items()}
        return probes | {
            "/metrics": lambda wishes: compressed(self.telemetry.answer(), wishes),
            V2_PATH: self._openapi.everything,
            V3_PATH: self._openapi.groups,
        }

    @cached_property
    def _paths(self) -> list[str]:
        return sorted((*self._api_paths, *self._other_paths, f"{V3_PATH}/"))

    @cached_property
    def _probes(self) -> tuple[Probe, ...]:
        return Probe("/healthz", self.livez.checks), self.livez, self.readyz

    @cached_property
    def _openapi(self) -> OpenApi:
        return OpenApi(self.version["gitVersion"], self._metric_names)

    def _metric_names(self) -> list[str]:
        given = self.evaluation()
        forwarded = self.forwarding.names if self.forwarding is not None else ()
        return [*metric_names(given.snapshot, given.rules), *forwarded]


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


_log = structlog.get_logger()


@dataclass(frozen=True)
class Application:
    """The ASGI application."""

    requests: Requests
    deadline: Deadline
    authenticator: Authenticator
    authorizer: Authorizer
    handler: Handler
    telemetry: Telemetry
    audit: Audit

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        started = perf_counter()
        wishes = Wishes.of(scope["query_string"], scope["headers"])
        trail = Trail(wishes.headers)
        with self.requests:
            response = self.requests.fitting(await self._answer(scope, wishes, trail))
            headers = response.raw_headers
            headers.append((b"audit-id", trail.audit_id))
            if b"cache-control" not in dict(headers):
                headers.append((b"cache-control", b"no-cache, private"))
            await self.requests.send(response, send)
        took_s = perf_counter() - started
        self.telemetry.observe(response.status_code, took_s)
        self.audit.note(scope, trail, response.status_code, took_s)

    async def _answer(self, scope: Scope, wishes: Wishes, trail: Trail) -> Response:
        try:
            with self.deadline:
                return await self._respond(scope, wishes, trail)
        except StatusError as error:
            trail.why = _without_traceback(error)
            return refusal(error, wishes)
        except TooManyRequestsError:
            return self.requests.too_many()
        except Exception:  # noqa: BLE001 - the loop's edge: the caller gets a Status, we get the traceback
            _log.exception(
                "a request failed", method=scope["method"], path=scope["path"], audit_id=trail.audit_id.decode()
            )
            return refusal(StatusError("InternalError", "Internal error occurred: see beanscale's log"), wishes)

    async def _respond(self, scope: Scope, wishes: Wishes, trail: Trail) -> Response:
        trail.info = info = request_info(scope["method"], scope["raw_path"].decode("latin-1"), wishes.query)
        if self.requests.are_too_many and not self._is_never_too_many(scope, info):
            raise TooManyRequestsError
        check_timeout(wishes.query)
        trail.caller = caller = await self.authenticator.caller(scope)
        user = caller.user
        if impersonation.PREFIX in b"\n".join(wishes.headers):  # there or not in it, which one search tells
            trail.acts_as = user = await impersonation.impersonated(user, scope["headers"], info, self.authorizer)
        trail.allowed_because = await self.authorizer.check(user, info)
        return await self.handler.handle(info, wishes)

    def _is_never_too_many(self, scope: Scope, info: RequestInfo) -> bool:
        """The kubelet's probes; and system:masters, as in Kubernetes: the aggregator's own look at whether we work."""
        if info.path in ALWAYS_ALLOWED:
            return True
        caller = self.authenticator.caller_by_certificate(scope)
        return caller is not None and PRIVILEGED in caller.user.groups


def _without_traceback(error: StatusError) -> StatusError:
    """It holds frames, which hold what was asked, and the error: in a circle, all of that would stay for minutes."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
