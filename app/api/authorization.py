"""Who may: Kubernetes decides, by SubjectAccessReview; what it said holds for ten seconds, and no answer means no.

Sources: k8s.io/apiserver/pkg/authorization/authorizerfactory/delegating.go, pkg/server/options/authorization.go and
pkg/endpoints/filters/authorization.go.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from app.api.authentication import ANONYMOUS
from app.api.request import FieldTerm, RequestInfo
from app.api.review_cache import Observe, Reviews
from app.api.status import StatusError
from app.go_syntax import quote
from app.kube.errors import KubernetesError
from app.kube.reviews import Condition, Decision, PathAttributes, ResourceAttributes, User
from app.metrics.selector import Requirement

PRIVILEGED = "system:masters"
ALWAYS_ALLOWED = frozenset({"/healthz", "/livez", "/readyz"})
"""The kubelet asks these without a name."""
THREADS = 8
STRANGERS_THREADS = 2

_OPERATORS: Mapping[str, str] = {
    "=": "In",
    "==": "In",
    "in": "In",
    "!=": "NotIn",
    "notin": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}
"""What a review can tell; it leaves out the rest, which makes it stricter."""

Attributes = ResourceAttributes | PathAttributes
ReviewAccess = Callable[[User, Attributes], Decision]
"""A SubjectAccessReview, blocking. Raises KubernetesError."""


class Authorizer:
    """Lets through what Kubernetes allows."""

    def __init__(self, review_access: ReviewAccess, observe: Observe = lambda *_: None) -> None:
        self._review_access = review_access
        # Strangers have few threads and a memory of their own: however many paths they try, users don't wait for them.
        self._of_users, self._of_strangers = (
            Reviews("SubjectAccessReview", threads, _verdict, observe, kept=("allowed", "denied"))
            for threads in (THREADS, STRANGERS_THREADS)
        )

    async def check(self, user: User, info: RequestInfo) -> str:
        """Why it is allowed. Raises StatusError: 403 where Kubernetes says no, 500 where it can't be asked."""
        if PRIVILEGED in user.groups:
            return PRIVILEGED
        if info.path in ALWAYS_ALLOWED:
            return "always allowed"
        decision = await self._decide(user, _attributes(info))
        if not decision.allowed:
            refusal = forbidden(user, info, decision.reason)
            refusal.add_note(decision.problem)  # for the log alone, as in Kubernetes
            raise refusal
        return decision.reason

    async def _decide(self, user: User, attributes: Attributes) -> Decision:
        reviews = self._of_strangers if user.name == ANONYMOUS.name else self._of_users
        try:
            return await reviews.answer((user, attributes), partial(self._review_access, user, attributes))
        except KubernetesError as error:
            raise StatusError("InternalError", f"Internal error occurred: access can't be reviewed: {error}") from error


def _verdict(decision: Decision) -> str:
    return "allowed" if decision.allowed else "denied"


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
        fields=tuple(_of_fields(info.fields)),
        labels=tuple(_of_labels(info.labels)),
    )


def _of_fields(terms: Iterable[FieldTerm]) -> Iterator[Condition]:
    for field, operator, value in terms:
        yield Condition(field, _OPERATORS[operator], (value,))


def _of_labels(requirements: Iterable[Requirement]) -> Iterator[Condition]:
    for each in requirements:
        if each.operator in _OPERATORS:
            yield Condition(each.key, _OPERATORS[each.operator], tuple(sorted(each.values)))


def forbidden(user: User, info: RequestInfo, reason: str) -> StatusError:
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
