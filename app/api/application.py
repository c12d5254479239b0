"""A request's way, top to bottom: is there room, what is it about, who asks (and as whom), may they, answer, note it.

The path is taken apart once, and what was authorised is what is then handled; so there is no second router that could
see another path than the authoriser did.
"""

import uuid
from dataclasses import dataclass
from time import perf_counter

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api import impersonation
from app.api.answers import refusal
from app.api.authentication import Authenticator
from app.api.authorization import ALWAYS_ALLOWED, PRIVILEGED, Authorizer
from app.api.handler import Handler
from app.api.limits import Deadline, Requests, TooManyRequestsError
from app.api.list_options import check_timeout
from app.api.negotiation import Wishes
from app.api.request_info import RequestInfo, request_info
from app.api.status import StatusError
from app.api.telemetry import Telemetry

_MOST_AUDIT_ID = 64
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        started = perf_counter()
        wishes = Wishes.of(scope["query_string"], scope["headers"])
        with self.requests:
            response = self.requests.fitting(await self._answer(scope, wishes))
            response.raw_headers.append((b"audit-id", _audit_id(scope)))
            if not any(name == b"cache-control" for name, _ in response.raw_headers):
                response.raw_headers.append((b"cache-control", b"no-cache, private"))
            await self.requests.send(response, scope, receive, send)
        self.telemetry.observe(response.status_code, perf_counter() - started)

    async def _answer(self, scope: Scope, wishes: Wishes) -> Response:
        try:
            with self.deadline:
                return await self._respond(scope, wishes)
        except StatusError as error:
            return refusal(error, wishes)
        except TooManyRequestsError:
            return self.requests.too_many()
        except Exception:  # noqa: BLE001 - the loop's edge: the caller gets a Status, we get the traceback
            _log.exception("a request failed", method=scope["method"], path=scope["path"])
            return refusal(StatusError("InternalError", "Internal error occurred: see beanscale's log"), wishes)

    async def _respond(self, scope: Scope, wishes: Wishes) -> Response:
        info = request_info(scope["method"], scope["raw_path"].decode("latin-1"), wishes.query)
        if self.requests.are_too_many and not self._is_never_too_many(scope, info):
            raise TooManyRequestsError
        check_timeout(wishes.query)
        user = await self.authenticator.user(scope)
        if any(name.startswith(impersonation.PREFIX) for name in wishes.headers):
            user = await impersonation.impersonated(user, scope["headers"], self.authorizer)
        await self.authorizer.check(user, info)
        return await self.handler.handle(info, wishes)

    def _is_never_too_many(self, scope: Scope, info: RequestInfo) -> bool:
        """The kubelet's probes; and system:masters, as in Kubernetes: the aggregator's own look at whether we work."""
        if info.path in ALWAYS_ALLOWED:
            return True
        user = self.authenticator.user_of_certificate(scope)
        return user is not None and PRIVILEGED in user.groups


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
