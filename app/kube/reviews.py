"""Two questions that only kube-apiserver can answer: whose token is this, and may this user do that.

An answer that isn't a review, or contradicts itself, is an error: nobody gets in by it.
Source: plugin/pkg/authenticator/token/webhook and plugin/pkg/authorizer/webhook of k8s.io/apiserver.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path, not a password
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, in Kubernetes' four parts."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Keys, each once, with their values; authorisers may look at them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a selector that narrows a list."""

    key: str
    operator: str
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: tuple[str, ...] = ()


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
    fields: tuple[Condition, ...] = ()
    labels: tuple[Condition, ...] = ()
    """What narrows a list: some authorisers allow a part where they would not allow all (KEP-4601)."""


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
    problem: str = ""
    """What went wrong on the way to this decision, such as a binding to a role that isn't there."""


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whose a token is."""

    user: User | None
    """None: nobody's."""
    problem: str = ""
    """Why kube-apiserver couldn't tell, or didn't believe it."""


def review_token(kubernetes: Kubernetes, token: str, audiences: Sequence[str] = ()) -> TokenOwner:
    """The user behind a bearer token; `audiences`: the token must be for one of them.

    Without audiences it must be for kube-apiserver itself, which is what servers built on Kubernetes' own library ask
    by default. Raises KubernetesError when nobody can tell.
    """
    spec: dict[str, Any] = {"token": token}
    if audiences:
        spec["audiences"] = list(audiences)
    status = _review(kubernetes, _TOKEN_REVIEWS, "authentication.k8s.io/v1", "TokenReview", spec)
    authenticated = _flag(status, "authenticated", "TokenReview")
    if not authenticated or not _meant_for(audiences, status.get("audiences")):
        return TokenOwner(None, str(status.get("error") or ""))
    return TokenOwner(_user(status.get("user")))


def review_access(kubernetes: Kubernetes, user: User, attributes: ResourceAttributes | PathAttributes) -> Decision:
    """Whether the user may do that. Raises KubernetesError when nobody can tell: then nothing is allowed."""
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), **_attributes(attributes)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra}
    status = _review(kubernetes, _ACCESS_REVIEWS, "authorization.k8s.io/v1", "SubjectAccessReview", spec)
    allowed, denied = (_flag(status, name, "SubjectAccessReview") for name in ("allowed", "denied"))
    if allowed and denied:
        raise _nonsense("SubjectAccessReview", "both allowed and denied")
    return Decision(allowed, str(status.get("reason") or ""), str(status.get("evaluationError") or ""))


def _attributes(attributes: ResourceAttributes | PathAttributes) -> dict[str, dict[str, Any]]:
    if isinstance(attributes, PathAttributes):
        return {"nonResourceAttributes": {"path": attributes.path, "verb": attributes.verb}}
    selectors = {"fieldSelector": attributes.fields, "labelSelector": attributes.labels}
    return {
        "resourceAttributes": {
            "namespace": attributes.namespace,
            "verb": attributes.verb,
            "group": attributes.group,
            "version": attributes.version,
            "resource": attributes.resource,
            "subresource": attributes.subresource,
            "name": attributes.name,
            **{
                name: {"requirements": _requirements(conditions)}
                for name, conditions in selectors.items()
                if conditions
            },
        }
    }


def _requirements(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    return [
        {"key": each.key, "operator": each.operator, **({"values": list(each.values)} if each.values else {})}
        for each in conditions
    ]


def _review(kubernetes: Kubernetes, path: str, api_version: str, kind: str, spec: dict[str, Any]) -> Mapping[str, Any]:
    review = kubernetes.request("POST", path, body={"apiVersion": api_version, "kind": kind, "spec": spec})
    if (review.get("apiVersion"), review.get("kind")) != (api_version, kind):
        raise _nonsense(kind, f"of kind {str(review.get('kind'))[:64]!r}")
    status = review.get("status")
    if not isinstance(status, dict):
        raise _nonsense(kind, "without a status")
    return status


def _flag(status: Mapping[str, Any], name: str, kind: str) -> bool:
    value = status.get(name, False)
    if not isinstance(value, bool):
        raise _nonsense(kind, f"whose {name!r} is neither true nor false")
    return value


def _user(told: Any) -> User:
    match told:
        case {"username": str(name)} if name:
            groups, extra = told.get("groups") or [], told.get("extra") or {}
            if _are_texts(groups) and isinstance(extra, dict) and all(map(_are_texts, extra.values())):
                several = tuple((key, tuple(values)) for key, values in extra.items())
                return User(name, tuple(groups), str(told.get("uid") or ""), several)
    raise _nonsense("TokenReview", "that doesn't tell its user")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _nonsense(kind: str, what: str) -> KubernetesError:
    return KubernetesError(
        f"kube-apiserver answered a {kind} with an object {what}, which decides nothing; is it a kube-apiserver?",
        reason="NotKubernetes",
    )


def _meant_for(asked: Sequence[str], answered: Sequence[str] | None) -> bool:
    """An authenticator that doesn't know audiences answers none: then the token isn't for ours (TokenReview's API)."""
    return not asked or not set(asked).isdisjoint(answered or ())
