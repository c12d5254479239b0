"""Who may: Kubernetes decides, by SubjectAccessReview; what it said holds for ten seconds, and no answer means no.

Source: k8s.io/apiserver/pkg/authorization/authorizerfactory/delegating.go and pkg/server/options/authorization.go.
"""

import asyncio
from collections.abc import Callable

from cachetools import TTLCache

from app.api.go_syntax import quote
from app.api.request_info import MOST_REMEMBERED, RequestInfo
from app.api.status import StatusError
from app.cluster.client import KubernetesError
from app.cluster.reviews import Decision, PathAttributes, ResourceAttributes, User

PRIVILEGED = "system:masters"
ALWAYS_ALLOWED = frozenset({"/healthz", "/livez", "/readyz"})
"""The kubelet asks these without a name."""
CACHED_S = 10.0
MOST_DECISIONS = 4096

Attributes = ResourceAttributes | PathAttributes
ReviewAccess = Callable[[User, Attributes], Decision]
"""A SubjectAccessReview, blocking. Raises KubernetesError."""


class Authorizer:
    """Lets through what Kubernetes allows."""

    def __init__(self, review_access: ReviewAccess) -> None:
        self._review_access = review_access
        self._decisions: TTLCache[tuple[User, Attributes], asyncio.Future[Decision]] = TTLCache(
            MOST_DECISIONS, CACHED_S
        )

    async def check(self, user: User, info: RequestInfo) -> None:
        """Raises StatusError: 403 where Kubernetes says no, 500 where it can't be asked."""
        if PRIVILEGED in user.groups or info.path in ALWAYS_ALLOWED:
            return
        decision = await self._decide(user, info)
        if not decision.allowed:
            raise _forbidden(user, info, decision.reason)

    async def _decide(self, user: User, info: RequestInfo) -> Decision:
        key = (user, attributes := _attributes(info))
        review = self._decisions.get(key)
        if review is None:
            review = asyncio.ensure_future(asyncio.to_thread(self._review_access, user, attributes))
            if len(info.path) <= MOST_REMEMBERED:
                self._decisions[key] = review
        try:
            return await asyncio.shield(review)  # others wait for the same answer: one who leaves doesn't take it along
        except KubernetesError as error:
            self._decisions.pop(key, None)
            raise StatusError("InternalError", f"Internal error occurred: access can't be reviewed: {error}") from error


def _attributes(info: RequestInfo) -> Attributes:
    if not info.resource:
        return PathAttributes(info.path, info.verb)
    return ResourceAttributes(
        namespace=info.namespace,
        verb=info.verb,
        group=info.group,
        version=info.version,
        resource=info.resource,
        subresource=info.subresource,
        name=info.name,
    )


def _forbidden(user: User, info: RequestInfo, reason: str) -> StatusError:
    """In the words of k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go."""
    if not info.resource:
        message = f"User {quote(user.name)} cannot {info.verb} path {quote(info.path)}"
        return StatusError("Forbidden", f"forbidden: {_harmless(message)}{_why(reason)}", {})
    resource = quote(f"{info.resource}/{info.subresource}" if info.subresource else info.resource)
    scope = f"in the namespace {quote(info.namespace)}" if info.namespace else "at the cluster scope"
    message = f"User {quote(user.name)} cannot {info.verb} resource {resource} in API group {quote(info.group)} {scope}"
    of_group = f"{info.resource}.{info.group}" if info.group else info.resource
    named = f" {quote(info.name)}" if info.name else ""
    details = {"name": info.name, "group": info.group, "kind": info.resource}
    return StatusError(
        "Forbidden",
        f"{of_group}{named} is forbidden: {_harmless(message)}{_why(reason)}",
        {key: value for key, value in details.items() if value},
    )


def _harmless(message: str) -> str:
    """Inside of a web page."""
    return message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _why(reason: str) -> str:
    return f": {reason}" if reason else ""
