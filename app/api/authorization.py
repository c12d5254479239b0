"""Authorization: Kubernetes decides by SubjectAccessReview; results count for ten seconds, no result means no.

Sources: k8s.io/apiserver/pkg/authorization/authorizerfactory/delegating.go, pkg/server/options/authorization.go and
pkg/endpoints/filters/authorization.go.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.request import AuthenticatedBy, Caller, Request
from app.api.review_cache import Observe, ReviewCache
from app.api.status import StatusError
from app.kube.errors import KubernetesError
from app.kube.reviews import Condition, Decision, PathAttributes, ResourceAttributes, User
from app.kube.upstream import GROUP, VERSION
from app.text import shortened

PRIVILEGED = "system:masters"
ALWAYS_ALLOWED = frozenset({"/healthz", "/livez", "/readyz"})
"""The kubelet requests these without a credential."""
THREADS: Mapping[AuthenticatedBy, int] = {"front-proxy": 8, "client-certificate": 2, "token": 4, "anonymous": 2}
"""For reviews, by how the caller was authenticated."""

_VERBS: Mapping[str, str] = {
    "GET": "list",
    "HEAD": "list",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "deletecollection",
}
"""Of a resource without a name; any other method has none."""
_OPERATORS: Mapping[str, str] = {
    "=": "In",
    "==": "In",
    "in": "In",
    "!=": "NotIn",
    "notin": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}
"""What a review can express; it omits the rest, which makes it stricter."""
_MAX_SELECTING = 4096
"""Bytes of a query whose selectors are part of the review. With a longer one the whole list must be allowed."""

_MAX_QUOTED = 512
"""Characters of a path or name that an error repeats."""

Attributes = ResourceAttributes | PathAttributes
ReviewAccess = Callable[[User, Attributes], Decision]
"""A SubjectAccessReview, blocking. Raises KubernetesError."""


class Authorization:
    """Middleware of each route: authorizes what the route has matched, and rejects impersonation."""

    def __init__(self, app: ASGIApp, authorizer: "Authorizer") -> None:
        self._app = app
        self._authorizer = authorizer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. Raises StatusError."""
        request: Request = scope["request"]
        assert request.caller  # noqa: S101 - set by Authentication
        request.attributes = attributes(request, scope.get("path_params", {}))
        # Ignoring these headers would do with all rights what the client meant to try with few.
        if b"\n".join(request.headers).count(b"impersonate") and any(
            name.replace(b"_", b"-").startswith(b"impersonate-") for name in request.headers
        ):
            message = "impersonation is not supported here: remove the Impersonate-* headers, or use kube-apiserver"
            raise forbidden(request.caller.user, request.attributes, message)
        request.allowed_by = await self._authorizer.check(request.caller, request.attributes)
        await self._app(scope, receive, send)


def attributes(request: Request, matched: Mapping[str, str]) -> Attributes:
    """Return what a request is about: a metric if the route matched one, else its path.

    An unauthenticated client's query isn't parsed, so that it is rejected in less time: it must be allowed the whole
    list, whatever it selects.
    """
    if "metric" not in matched:
        return PathAttributes(request.path, request.method.lower())
    verb = _VERBS.get(request.method, "")
    labels: tuple[Condition, ...] = ()
    if request.query and request.is_authenticated and verb in {"list", "deletecollection"}:
        options = request.options
        if verb == "list" and options.watch:
            verb = "watch"
        if len(request.query) <= _MAX_SELECTING:
            labels = tuple(
                Condition(each.key, _OPERATORS[each.operator], tuple(sorted(each.values)))
                for each in options.selector.requirements
                if each.operator in _OPERATORS
            )
    return ResourceAttributes(matched["namespace"], verb, GROUP, VERSION, matched["metric"], labels=labels)


class Authorizer:
    """Admits what Kubernetes allows."""

    def __init__(self, review_access: ReviewAccess, observe: Observe = lambda *_: None) -> None:
        self._review_access = review_access

        def verdict(decision: Decision) -> str:
            return "allowed" if decision.allowed else "denied"

        # Each has threads and a cache of its own: however many metrics others try, HPAs don't wait for them.
        self._by_authentication = {
            by: ReviewCache("SubjectAccessReview", threads, verdict, ("allowed", "denied"), observe)
            for by, threads in THREADS.items()
        }

    async def check(self, caller: Caller, what: Attributes) -> str:
        """Return why it is allowed.

        Raises StatusError: 403 if Kubernetes denies it, 429 if too much is to be reviewed, 500 if a review fails.
        """
        user = caller.user
        if PRIVILEGED in user.groups:
            return PRIVILEGED
        if isinstance(what, PathAttributes) and what.path in ALWAYS_ALLOWED:
            return "always allowed"
        reviews = self._by_authentication[caller.by]
        try:
            decision = await reviews.get(user.name, (user, what), partial(self._review_access, user, what))
        except KubernetesError as error:
            failed = StatusError("InternalError", "Internal error occurred: access can't be reviewed now; retry later")
            failed.add_note(str(error))  # names kube-apiserver's address and beanscale's permissions
            raise failed from error
        if not decision.allowed:
            denied = forbidden(user, what, decision.reason)
            denied.add_note(decision.problem)  # for the log alone, as in Kubernetes
            raise denied
        return decision.reason


def forbidden(user: User, what: Attributes, reason: str) -> StatusError:
    """Return the error that kube-apiserver would return."""
    who, why = f"User {_quoted(user.name)} cannot {what.verb}", f": {reason}" if reason else ""
    if isinstance(what, PathAttributes):
        return StatusError("Forbidden", f"forbidden: {who} path {_quoted(what.path)}{why}", {})
    group, kind = what.group, shortened(what.resource, _MAX_QUOTED)
    scope = f"in API group {_quoted(group)} in the namespace {_quoted(what.namespace)}"
    message = f"{kind}.{group} is forbidden: {who} resource {_quoted(kind)} {scope}{why}"
    return StatusError("Forbidden", message, {"group": group, "kind": kind})


def _quoted(text: str) -> str:
    return json.dumps(shortened(text, _MAX_QUOTED))
