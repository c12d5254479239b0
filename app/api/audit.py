"""What became of each request, as one line of the log: who, from where, what, the verdict and why.

Lines that strangers can cause are bounded, each says how many it stands for, and none tells a secret: of the head there
is nothing in them but the path, the audit id and the addresses.
"""

import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from app.api.authentication import Caller
from app.api.authorization import ALWAYS_ALLOWED
from app.api.request import RequestInfo
from app.api.status import StatusError
from app.kube.reviews import User
from app.logs import AuditLog

MOST_AUDIT_ID = 256
"""Bytes. Kubernetes' own are 36 long."""
_MOST_TEXT = 256
"""Characters of any one value in a line."""
_MOST_GROUPS = 32
_QUOTING = frozenset({"BadRequest", "Invalid"})
"""Refusals that quote the query to who sent it; what is in there by mistake may be a secret."""
_FORWARDED_FOR = b"x-forwarded-for"

_log = structlog.get_logger()


class Trail:
    """What is known of a request so far."""

    __slots__ = ("acts_as", "allowed_because", "audit_id", "caller", "info", "why")

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self.audit_id = _audit_id(headers)
        self.info: RequestInfo | None = None
        self.caller: Caller | None = None
        self.acts_as: User | None = None
        """Whom an allowed impersonation made of the caller."""
        self.allowed_because: str | None = None
        self.why: BaseException | None = None
        """The refusal or failure, if it was one."""

    @property
    def user(self) -> User | None:
        """Whose rights count."""
        return self.acts_as or (self.caller.user if self.caller else None)


class Budget:
    """How many lines may be written: so many at once, and then so many a second."""

    def __init__(self, at_once: int, a_second: float) -> None:
        self._at_once = at_once
        self._a_second = a_second
        self._left = float(at_once)
        self._spent_at_s = -math.inf
        self._kept_back = 0

    def spend(self, now_s: float) -> int | None:
        """None: this one is kept back. Else how many were since the last."""
        passed_s, self._spent_at_s = now_s - self._spent_at_s, now_s
        self._left = min(self._at_once, self._left + passed_s * self._a_second)
        if self._left < 1:
            self._kept_back += 1
            return None
        self._left -= 1
        kept_back, self._kept_back = self._kept_back, 0
        return kept_back


class Audit:
    """Writes the lines: of requests refused (401, 403, 429) and failed (5xx), or of all but probes that went well."""

    def __init__(self, audited: AuditLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._everything = audited == "all"
        self._clock = clock
        # Two, so that strangers can't drown what users are refused.
        self._of_users, self._of_strangers = Budget(100, 10), Budget(20, 0.5)

    def note(self, scope: Mapping[str, Any], trail: Trail, code: int, took_s: float) -> None:
        """Tell of one request, if it is worth it."""
        if code < 500 and code not in {401, 403, 429}:
            if self._everything and not _is_probe(trail):
                _log.info("request", **_facts(scope, trail, code, took_s))
            return
        if code >= 500 and _is_probe(trail):
            return  # what is wrong is told where it went wrong; the kubelet asks every few seconds
        is_strangers = trail.caller is None or trail.caller.by == "anonymous"
        kept_back = (self._of_strangers if is_strangers else self._of_users).spend(self._clock())
        if kept_back is not None:
            more = {"kept_back": kept_back} if kept_back else {}
            event = "request failed" if code >= 500 else "request refused"
            _log.warning(event, **_facts(scope, trail, code, took_s), **more)


def _is_probe(trail: Trail) -> bool:
    return trail.info is not None and trail.info.path in ALWAYS_ALLOWED


def _facts(scope: Mapping[str, Any], trail: Trail, code: int, took_s: float) -> dict[str, Any]:
    facts = {
        "verdict": _verdict(trail, code),
        "status": code,
        **_who(trail),
        "source": (scope["client"] or ("",))[0],
        **_forwarded_for(scope, trail),
        **_what(scope, trail.info),
        **_why(trail),
        "took_ms": round(took_s * 1000, 1),
        "audit_id": trail.audit_id.decode("latin-1"),
    }
    return {name: _short(value) for name, value in facts.items() if value not in {"", ()}}


def _verdict(trail: Trail, code: int) -> str:
    if trail.allowed_because is not None:
        return "allowed"
    return {401: "unauthenticated", 403: "denied"}.get(code, "undecided")


def _who(trail: Trail) -> dict[str, Any]:
    if trail.caller is None:
        return {}
    user, others = trail.caller.user, trail.acts_as
    told = {"user": user.name, "groups": user.groups, "uid": user.uid, "authenticated_by": trail.caller.by}
    return told | ({"acts_as": others.name, "acts_as_groups": others.groups} if others and others != user else {})


def _forwarded_for(scope: Mapping[str, Any], trail: Trail) -> dict[str, str]:
    """Where the aggregator says that a request came from. Nobody else is believed."""
    if trail.caller is None or trail.caller.by != "front-proxy":
        return {}
    told = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED_FOR]
    return {"forwarded_for": ", ".join(told)}


def _what(scope: Mapping[str, Any], info: RequestInfo | None) -> dict[str, str]:
    if info is None:
        return {"verb": scope["method"].lower(), "path": scope["raw_path"].decode("latin-1")}
    if not info.resource:
        return {"verb": info.verb, "path": info.path}
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    return {
        "verb": info.verb,
        "api_group": info.group,
        "resource": resource,
        "namespace": info.namespace,
        "name": info.name,
    }


def _why(trail: Trail) -> dict[str, str]:
    why = trail.why
    if why is None:
        return {"reason": trail.allowed_because or ""}
    reason = why.reason if isinstance(why, StatusError) and why.reason in _QUOTING else str(why)
    return {"reason": reason, "problem": "; ".join(filter(None, getattr(why, "__notes__", ())))}


def _short(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_short(each) for each in value[:_MOST_GROUPS]] + [f"… {len(value)} in all"] * (
            len(value) > _MOST_GROUPS
        )
    return value[:_MOST_TEXT] + "…" if isinstance(value, str) and len(value) > _MOST_TEXT else value


def _audit_id(headers: Mapping[bytes, bytes]) -> bytes:
    """kube-apiserver's, so that both logs can be laid side by side, or a new one. Nothing is looked up by it."""
    value = headers.get(b"audit-id", b"")
    if 0 < len(value) <= MOST_AUDIT_ID and value.isascii() and value.decode().isprintable():
        return value
    return str(uuid.uuid4()).encode()
