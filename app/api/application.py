"""A request's way, top to bottom: is there room, what is it about, who asks (and as whom), may they, answer, note it.

The path is taken apart once, and what was authorised is what is then handled; so there is no second router that could
see another path than the authoriser did.
"""

from dataclasses import dataclass
from time import perf_counter

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api import impersonation
from app.api.answers import refusal
from app.api.audit import Audit, Trail
from app.api.authentication import Authenticator
from app.api.authorization import ALWAYS_ALLOWED, PRIVILEGED, Authorizer
from app.api.handler import Handler
from app.api.limits import Deadline, Requests, TooManyRequestsError
from app.api.list_options import check_timeout
from app.api.negotiation import Wishes
from app.api.request_info import RequestInfo, request_info
from app.api.status import StatusError
from app.api.telemetry import Telemetry

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
