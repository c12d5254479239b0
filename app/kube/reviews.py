"""TokenReview and SubjectAccessReview: whose token this is, and whether a user may do something.

A response that isn't a review, or contradicts itself, is an error: it authorizes no one.
Source: plugin/pkg/authenticator/token/webhook and plugin/pkg/authorizer/webhook of k8s.io/apiserver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.kube.client import Kubernetes
from app.kube.errors import NotKubernetesError

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path, not a password
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class User(NamedTuple):
    """A user as Kubernetes knows it."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Keys, each once, with their values; authorizers may use them."""


class Condition(NamedTuple):
    """One requirement of a selector."""

    key: str
    operator: str
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: tuple[str, ...] = ()


class ResourceAttributes(NamedTuple):
    """A request for a Kubernetes resource without a name, such as a list."""

    namespace: str
    verb: str
    group: str
    version: str
    resource: str
    labels: tuple[Condition, ...] = ()
    """The label selector: some authorizers allow a part of a list where they don't allow all of it (KEP-4601)."""


class PathAttributes(NamedTuple):
    """A request for anything else, such as `/metrics`."""

    path: str
    verb: str


@dataclass(frozen=True, slots=True)
class Decision:
    """kube-apiserver's decision."""

    allowed: bool
    reason: str
    """The rule that allowed it, or why none did; often empty."""
    problem: str = ""
    """What failed while deciding, such as a binding to a missing role."""


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The user that a token authenticates."""

    user: User | None
    """None: kube-apiserver doesn't accept the token."""
    problem: str = ""
    """Why it doesn't."""


def review_token(kubernetes: Kubernetes, token: str) -> TokenOwner:
    """Return the user that a bearer token for kube-apiserver authenticates. Raise KubernetesError if unknown."""
    status = _review(kubernetes, _TOKEN_REVIEWS, "authentication.k8s.io/v1", "TokenReview", {"token": token})
    if not _flag(status, "authenticated", "TokenReview"):
        return TokenOwner(None, str(status.get("error") or ""))
    user: Any = status.get("user")
    match user:
        case {"username": str(name)} if name:
            groups, extra = user.get("groups") or [], user.get("extra") or {}
            if _are_strings(groups) and isinstance(extra, dict) and all(map(_are_strings, extra.values())):
                values = tuple((key, tuple(several)) for key, several in extra.items())
                return TokenOwner(User(name, tuple(groups), str(user.get("uid") or ""), values))
    raise _invalid("TokenReview", "without a valid user")


def review_access(kubernetes: Kubernetes, user: User, attributes: ResourceAttributes | PathAttributes) -> Decision:
    """Return whether the user may do that. Raise KubernetesError if unknown: then nothing is allowed."""
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra}
    if isinstance(attributes, PathAttributes):
        spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
    else:
        resource: dict[str, Any] = {
            "namespace": attributes.namespace,
            "verb": attributes.verb,
            "group": attributes.group,
            "version": attributes.version,
            "resource": attributes.resource,
        }
        if attributes.labels:
            resource["labelSelector"] = {
                "requirements": [
                    {"key": each.key, "operator": each.operator}
                    | ({"values": list(each.values)} if each.values else {})
                    for each in attributes.labels
                ]
            }
        spec["resourceAttributes"] = resource
    status = _review(kubernetes, _ACCESS_REVIEWS, "authorization.k8s.io/v1", "SubjectAccessReview", spec)
    allowed, denied = (_flag(status, name, "SubjectAccessReview") for name in ("allowed", "denied"))
    if allowed and denied:
        raise _invalid("SubjectAccessReview", "both allowed and denied")
    return Decision(allowed, str(status.get("reason") or ""), str(status.get("evaluationError") or ""))


def _review(kubernetes: Kubernetes, path: str, api_version: str, kind: str, spec: dict[str, Any]) -> Mapping[str, Any]:
    """Return the review's status."""
    review = kubernetes.request("POST", path, body={"apiVersion": api_version, "kind": kind, "spec": spec})
    if (review.get("apiVersion"), review.get("kind")) != (api_version, kind):
        raise _invalid(kind, f"of kind {str(review.get('kind'))[:64]!r}")
    status = review.get("status")
    if not isinstance(status, dict):
        raise _invalid(kind, "without a status")
    return status


def _flag(status: Mapping[str, Any], name: str, kind: str) -> bool:
    value = status.get(name, False)
    if not isinstance(value, bool):
        raise _invalid(kind, f"whose {name!r} is neither true nor false")
    return value


def _are_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _invalid(kind: str, what: str) -> NotKubernetesError:
    return NotKubernetesError(f"kube-apiserver answered a {kind} with an object {what}, so no request is allowed")
