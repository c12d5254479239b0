"""The audit log: one line for a request, with caller, source, subject, verdict and reason.

Lines that unauthenticated clients can cause are rate-limited, and no line has a secret: of the head it contains only
the path, the audit ID and the addresses.
"""

import time
import uuid
from collections.abc import Callable
from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.authorization import ALWAYS_ALLOWED
from app.api.request import Request
from app.kube.reviews import ResourceAttributes
from app.logs import AuditLog
from app.ratelimit import RateLimitedWarning
from app.text import shortened

MAX_AUDIT_ID = 256
"""Bytes. Kubernetes' own are 36 long."""
_MAX_TEXT = 256
"""Characters of any one value in a line."""
_MAX_GROUPS = 32
_QUOTING = frozenset({"BadRequest", "Invalid"})
"""Reasons of errors that quote the query to the client; something in it may be a secret by mistake."""
_VERDICTS = {401: "unauthenticated", 403: "denied"}
_NO_CACHE = (b"cache-control", b"no-cache, private")

_log = structlog.get_logger()


class Audit:
    """Middleware: gives each request its audit ID, and logs those rejected (401, 403, 429) or failed (5xx), or all.

    Probes are logged only if they are rejected: the kubelet sends one every few seconds.
    """

    def __init__(
        self,
        audited: AuditLog,
        observe: Callable[[int, float], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`observe` is called for each response with its HTTP status code and duration in seconds."""
        self._logs_all = audited == "all"
        self._observe = observe
        # Two, so that unauthenticated clients can't suppress what users are refused.
        self._of_users = RateLimitedWarning(100, 0.1, clock)
        self._of_unauthenticated = RateLimitedWarning(20, 2, clock)

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return `app`, audited."""

        async def audited(scope: Scope, receive: Receive, send: Send) -> None:
            started = perf_counter()
            request = scope["request"] = Request(scope)
            request.audit_id = audit_id(request)

            async def send_audited(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request.status = message["status"]
                    # Not into the message's own list: a cached response has the same one again.
                    headers = [*message["headers"], (b"audit-id", request.audit_id)]
                    if b"cache-control" not in dict(headers):
                        headers.append(_NO_CACHE)
                    message = {**message, "headers": headers}
                await send(message)

            await app(scope, receive, send_audited)
            duration_s = perf_counter() - started
            self._observe(request.status, duration_s)
            self.note(request, scope["client"], duration_s)

        return audited

    def note(self, request: Request, client: tuple[str, int] | None, duration_s: float) -> None:
        """Log a request, if it is to be logged."""
        is_probe, is_failure = request.path in ALWAYS_ALLOWED, request.status >= 500
        if not is_failure and request.status not in {401, 403, 429}:
            if self._logs_all and not is_probe:
                _log.info("request", **_values(request, client, duration_s))
        elif not (is_failure and is_probe):
            added = (self._of_users if request.is_authenticated else self._of_unauthenticated).admit()
            if added is not None:
                event = "request failed" if is_failure else "request refused"
                _log.warning(event, **_values(request, client, duration_s), **added)


def _values(request: Request, client: tuple[str, int] | None, duration_s: float) -> dict[str, Any]:
    values: dict[str, Any] = {
        "verdict": _VERDICTS.get(request.status, "undecided") if request.allowed_by is None else "allowed",
        "status": request.status,
    }
    if request.caller is not None:
        user = request.caller.user
        values |= {
            "user": user.name,
            "groups": user.groups,
            "uid": user.uid,
            "authenticated_by": request.caller.by,
        }
    values["source"] = client[0] if client else ""
    if request.caller is not None and request.caller.by == "front-proxy":  # no other client is believed
        forwarded = [value.decode("latin-1") for name, value in request.raw_headers if name == b"x-forwarded-for"]
        values["forwarded_for"] = ", ".join(forwarded)
    what = request.attributes
    if isinstance(what, ResourceAttributes):
        values |= {
            "verb": what.verb,
            "api_group": what.group,
            "resource": what.resource,
            "namespace": what.namespace,
        }
    else:
        values |= {"verb": request.method.lower(), "path": request.path}
    error = request.error
    if error is None:
        values["reason"] = request.allowed_by or ""
    else:
        values["reason"] = error.reason if error.reason in _QUOTING else str(error)
        values["problem"] = "; ".join(filter(None, getattr(error, "__notes__", ())))
    values |= {"took_ms": round(duration_s * 1000, 1), "audit_id": request.audit_id.decode("latin-1")}
    return {name: _short(value) for name, value in values.items() if value not in {"", ()}}


def _short(value: Any) -> Any:
    if isinstance(value, tuple):
        more = [f"… {len(value)} in all"] if len(value) > _MAX_GROUPS else []
        return [_short(each) for each in value[:_MAX_GROUPS]] + more
    return shortened(value, _MAX_TEXT) if isinstance(value, str) else value


def audit_id(request: Request) -> bytes:
    """Return kube-apiserver's ID, so that both logs can be compared, or a new one. Nothing is looked up by it."""
    value = request.headers.get(b"audit-id", b"")
    if 0 < len(value) <= MAX_AUDIT_ID and value.isascii() and value.decode().isprintable():
        return value
    return str(uuid.uuid4()).encode()
