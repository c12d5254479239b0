"""Acting as somebody else: `Impersonate-User` and so on, for who may; and as nobody else than that, in what follows.

kube-apiserver keeps these headers to itself, so they come from who speaks to us directly. To overlook them would let
somebody do with all their rights what they meant to try with few.
Source: k8s.io/apiserver/pkg/endpoints/filters/impersonation/impersonation.go. Kubernetes 1.36 knows finer verbs too
(KEP-5284); who has only those is refused.
"""

from collections.abc import Iterable
from dataclasses import replace

from app.api.authentication import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from app.api.authorization import Authorizer
from app.api.request_info import RequestInfo
from app.api.status import StatusError
from app.cluster.reviews import User
from app.go_syntax import GoSyntaxError, unescaped

PREFIX = b"impersonate-"
_EXTRA = b"impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATION = "authentication.k8s.io"

Headers = Iterable[tuple[bytes, bytes]]


async def impersonated(user: User, headers: Headers, authorizer: Authorizer) -> User:
    """Whom the request is made as, where it is made as somebody else. Raises StatusError."""
    wanted = _wanted(headers)
    if not wanted.name:
        if wanted != User("", ()):
            raise StatusError("BadRequest", "requested groups, a UID or extra fields without impersonating a user name")
        return user
    for what in _asked_for(wanted):
        await authorizer.check(user, what)
    return _with_usual_groups(wanted)


def _wanted(headers: Headers) -> User:
    names: list[str] = []
    uids: list[str] = []
    groups: list[str] = []
    extra: dict[str, list[str]] = {}
    for header, raw in headers:
        value = raw.decode("utf-8", "replace")
        if header == b"impersonate-user":
            names.append(value)
        elif header == b"impersonate-uid":
            uids.append(value)
        elif header == b"impersonate-group":
            groups.append(value)
        elif header.startswith(_EXTRA):
            extra.setdefault(_key(header.removeprefix(_EXTRA)), []).append(value)
    everything = tuple((key, tuple(values)) for key, values in extra.items())
    return User("".join(names[:1]), tuple(groups), "".join(uids[:1]), everything)


def _key(encoded: bytes) -> str:
    try:
        return unescaped(encoded)
    except GoSyntaxError:
        return encoded.decode("latin-1")


def _asked_for(wanted: User) -> Iterable[RequestInfo]:
    """Each of what must be allowed."""
    namespace, _, name = wanted.name.removeprefix(_ACCOUNT).partition(":")
    if wanted.name.startswith(_ACCOUNT) and namespace and name and ":" not in name:
        yield _impersonate("", "serviceaccounts", name, namespace=namespace)
    else:
        yield _impersonate("", "users", wanted.name)
    for group in wanted.groups:
        yield _impersonate("", "groups", group)
    for key, values in wanted.extra:
        for value in values:
            yield _impersonate(_AUTHENTICATION, "userextras", value, subresource=key)
    if wanted.uid:
        yield _impersonate(_AUTHENTICATION, "uids", wanted.uid)


def _impersonate(group: str, resource: str, name: str, namespace: str = "", subresource: str = "") -> RequestInfo:
    path = f"//{namespace}/{subresource}/{name}"  # of no request; as long as what would be remembered
    return RequestInfo(path, "", "impersonate", group, "v1", namespace, resource, subresource, name)


def _with_usual_groups(wanted: User) -> User:
    """Those that come with a name."""
    groups = wanted.groups
    if not groups and wanted.name.startswith(_ACCOUNT):
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{wanted.name.split(':')[2]}")
    usual = UNAUTHENTICATED if wanted.name == ANONYMOUS.name else AUTHENTICATED
    if usual not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, usual)
    return replace(wanted, groups=groups)
