"""Two questions that only kube-apiserver can answer: whose token is this, and may this user do that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.cluster.client import Kubernetes

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path, not a password
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, in Kubernetes' four parts."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Keys with their values; authorisers may look at them."""


@dataclass(frozen=True, slots=True)
class ResourceAttributes:
    """A request for a Kubernetes resource; `""` is what the request doesn't have."""

    namespace: str
    verb: str
    group: str
    version: str
    resource: str
    subresource: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class PathAttributes:
    """A request for anything else, such as `/metrics`."""

    path: str
    verb: str


@dataclass(frozen=True, slots=True)
class Decision:
    """kube-apiserver's answer."""

    allowed: bool
    reason: str
    """Which rule allowed it, or why nothing did; often empty."""


def review_token(kubernetes: Kubernetes, token: str, audiences: Sequence[str] = ()) -> User | None:
    """The user behind a bearer token, None if it is nobody's; `audiences`: the token must be for one of them.

    Without audiences it must be for kube-apiserver itself. Raises KubernetesError when nobody can tell.
    """
    spec: dict[str, Any] = {"token": token}
    if audiences:
        spec["audiences"] = list(audiences)
    status = _review(kubernetes, _TOKEN_REVIEWS, "authentication.k8s.io/v1", "TokenReview", spec)
    if not status.get("authenticated") or not _meant_for(audiences, status.get("audiences")):
        return None
    user = status.get("user") or {}
    return User(
        name=str(user.get("username", "")),
        groups=tuple(user.get("groups") or ()),
        uid=str(user.get("uid") or ""),
        extra=tuple((key, tuple(values)) for key, values in (user.get("extra") or {}).items()),
    )


def review_access(kubernetes: Kubernetes, user: User, attributes: ResourceAttributes | PathAttributes) -> Decision:
    """Whether the user may do that. Raises KubernetesError when nobody can tell: then nothing is allowed."""
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), **_attributes(attributes)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra}
    status = _review(kubernetes, _ACCESS_REVIEWS, "authorization.k8s.io/v1", "SubjectAccessReview", spec)
    allowed = status.get("allowed") is True and status.get("denied") is not True
    return Decision(allowed, str(status.get("reason") or status.get("evaluationError") or ""))


def _attributes(attributes: ResourceAttributes | PathAttributes) -> dict[str, dict[str, str]]:
    if isinstance(attributes, PathAttributes):
        return {"nonResourceAttributes": {"path": attributes.path, "verb": attributes.verb}}
    return {
        "resourceAttributes": {
            "namespace": attributes.namespace,
            "verb": attributes.verb,
            "group": attributes.group,
            "version": attributes.version,
            "resource": attributes.resource,
            "subresource": attributes.subresource,
            "name": attributes.name,
        }
    }


def _review(kubernetes: Kubernetes, path: str, api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    review = kubernetes.request("POST", path, body={"apiVersion": api_version, "kind": kind, "spec": spec})
    status: dict[str, Any] = review.get("status") or {}
    return status


def _meant_for(asked: Sequence[str], answered: Sequence[str] | None) -> bool:
    """An authenticator that doesn't know audiences answers none: then the token isn't for ours (TokenReview's API)."""
    return not asked or not set(asked).isdisjoint(answered or ())
