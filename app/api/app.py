"""The API: a Starlette router. The routes list what is served, the middleware is the order of processing.

What a route matched is what is authorized and then handled: ErrorResponses decodes the path from `raw_path`, and routes
and handlers use only that. A path without a route is authorized too, before the response lists what there is.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from app.api import discovery, openapi
from app.api.audit import Audit
from app.api.authentication import Authentication, Authenticator
from app.api.authorization import Authorization, Authorizer
from app.api.external_metrics import ExternalMetrics
from app.api.forwarding import Forwarding
from app.api.limits import Limits
from app.api.negotiation import JSON, Representation
from app.api.probes import Probe
from app.api.request import Request
from app.api.response import ErrorResponses, compress, encode, respond
from app.api.status import StatusError
from app.api.telemetry import Telemetry
from app.kube.reviews import ResourceAttributes
from app.kube.upstream import GROUP, GROUP_VERSION
from app.metrics.query import EvaluationContext
from app.metrics.resolve import metric_names

Endpoint = Callable[[Request], Response | Awaitable[Response]]
"""Raises StatusError."""


@dataclass(frozen=True)
class Api:
    """What the application consists of."""

    audit: Audit
    limits: Limits
    authenticator: Authenticator
    authorizer: Authorizer
    probes: Sequence[Probe]
    telemetry: Telemetry
    context: Callable[[], EvaluationContext]
    """Returns what metrics are evaluated with now."""
    external_metrics: ExternalMetrics
    version: Mapping[str, str]
    """The content of `/version`."""
    port: int
    discovery_tubes: bool = True
    """If false, discovery and OpenAPI list no tubes."""
    forwarding: Forwarding | None = None
    """Serves the metrics that aren't beanscale's, if configured."""

    def application(self) -> Router:
        """Return the ASGI application."""

        def metric(request: Request) -> Awaitable[Response]:
            what = request.attributes
            assert isinstance(what, ResourceAttributes)  # noqa: S101 - this is the route of a metric
            if self.forwarding is not None and self.forwarding.accepts(request, what):
                return self.forwarding.respond(request, what)
            return self.external_metrics.respond(request, what, self.context())

        def names() -> list[str]:
            context = self.context()
            forwarded = self.forwarding.names if self.forwarding is not None else ()
            return [*metric_names(context.snapshot, context.rules, tubes=self.discovery_tubes), *forwarded]

        def not_found(request: Request) -> Response:
            if request.path.startswith((f"{group}/", "/version/")):
                raise StatusError("NotFound", "the server could not find the requested resource", {})
            return _listed(paths, 404)

        group, version = f"/apis/{GROUP}", f"/apis/{GROUP_VERSION}"
        # The API's own paths are for GET, as in Kubernetes; the others for any method.
        routes: dict[str, Endpoint] = {
            f"{version}/namespaces/{{namespace}}/{{metric}}": _for_get(metric),
            "/apis": _for_get(lambda request: discovery.groups(names(), self.port, request)),
            group: _for_get(discovery.group),
            version: _for_get(lambda request: discovery.resources(names(), request)),
            "/version": _for_get(lambda request: respond(self.version, request, Representation())),
            "/metrics": lambda request: compress(self.telemetry.response(), request),
            openapi.V2_PATH: openapi.v2,
            openapi.V3_PATH: lambda request: openapi.v3_index(names(), request),
            **dict.fromkeys(openapi.V3_DOCUMENTS, lambda request: openapi.v3(names(), request)),
        }
        for probe in self.probes:
            routes[probe.path] = probe.all
            routes |= {f"{probe.path}/{name}": partial(probe.one, name) for name in probe.checks}
        paths = sorted(path for path in ("/", *routes) if "{" not in path)
        routes["/"] = routes["/index.html"] = lambda _: _listed(paths, 200)
        authorization = Middleware(Authorization, self.authorizer)
        # Not `Starlette(...)`: it handles exceptions outermost, where Audit misses the response, or innermost, where
        # errors of the other middlewares don't arrive. ErrorResponses stands between.
        return Router(
            routes=[_Route(path, _Asgi(endpoint), middleware=[authorization]) for path, endpoint in routes.items()],
            default=Authorization(_Asgi(not_found), self.authorizer),
            redirect_slashes=False,
            middleware=[
                Middleware(self.audit.middleware),
                Middleware(ErrorResponses),
                Middleware(self.limits.of_responses),
                Middleware(Authentication, self.authenticator),
                Middleware(self.limits.of_users),
            ],
        )


class _Route(Route):
    """A route that matches to the letter: Starlette's patterns would also match before a final line break."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the path matches, and its parameters."""
        found = self.path_regex.fullmatch(scope["path"])
        return (Match.FULL, {"path_params": found.groupdict()}) if found else (Match.NONE, {})


class _Asgi:
    """An endpoint as an ASGI application."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._endpoint(scope["request"])
        if not isinstance(response, Response):
            response = await response
        await response(scope, receive, send)


def _for_get(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint, for GET only."""

    def respond_to_get(request: Request) -> Response | Awaitable[Response]:
        if request.method != "GET":
            message = "the server does not allow this method on the requested resource"
            raise StatusError("MethodNotAllowed", message, {})
        return endpoint(request)

    return respond_to_get


def _listed(paths: Sequence[str], code: int) -> Response:
    return Response(encode({"paths": paths}, indent=True), code, media_type=JSON)
