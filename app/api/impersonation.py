"""Acting as somebody else: `Impersonate-User` and so on, for who may; and as nobody else than that, in what follows.

kube-apiserver keeps these headers to itself, so they come from who speaks to us directly. To overlook them would let
somebody do with all their rights what they meant to try with few. There are several ways to be allowed: by kind of user
and for some requests alone (KEP-5284; all but that of a node's own agents, who have no business here), or for all.
Source: k8s.io/apiserver/pkg/endpoints/filters/impersonation.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.api.authentication import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from app.api.authorization import PRIVILEGED, Authorizer, forbidden
from app.api.request import RequestInfo
from app.api.status import StatusError
from app.go_syntax import GoSyntaxError, quote, unescaped
from app.kube.reviews import User

PREFIX = b"impersonate-"
_EXTRA = b"impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
_NAME = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_ACCOUNT = re.compile(rf"system:serviceaccount:(?=.{{1,63}}:)({_NAME}):(?=.{{1,253}}\Z)({_NAME}(?:\.{_NAME})*)")
_NODE = re.compile(rf"system:node:(?=.{{1,253}}\Z)({_NAME}(?:\.{_NAME})*)")
_KEY = re.compile(rf"(?=.{{1,253}}/){_NAME}(?:\.{_NAME})*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_MANY = 4
"""So many parts of one kind may be allowed at once."""
_ANY_WAY = ""

Headers = Iterable[tuple[bytes, bytes]]


async def impersonated(user: User, headers: Headers, info: RequestInfo, authorizer: Authorizer) -> User:
    """Whom the request is made as, where it is made as somebody else. Raises StatusError."""
    wanted = _wanted(headers)
    if not wanted.name:
        if wanted != User("", ()):
            raise _of_nobody(wanted)
        return user
    refusals = []
    for way in _ways(wanted):
        try:
            return await _allowed(way, user, wanted, info, authorizer)
        except StatusError as error:
            if error.reason != "Forbidden":
                raise
            refusals.append(error.with_traceback(None))  # which leads back here
    raise refusals[0]


def _ways(wanted: User) -> Iterable[str]:
    """The ways that there are to become such a user, the narrower first."""
    is_node, is_account = _NODE.fullmatch(wanted.name), _ACCOUNT.fullmatch(wanted.name)
    if is_node or is_account:
        if wanted == User(wanted.name, ()):
            yield "arbitrary-node" if is_node else "serviceaccount"
    else:
        yield "user-info"
    yield _ANY_WAY


async def _allowed(way: str, user: User, wanted: User, info: RequestInfo, authorizer: Authorizer) -> User:
    """The user that one becomes in this way. Raises StatusError 403."""
    if way:
        await authorizer.check(user, replace(info, verb=f"impersonate-on:{way}:{info.verb}"))
    for parts in _asked_for(way, wanted):
        await _check_parts(way, user, parts, authorizer)
    return _with_usual_groups(way, wanted)


async def _check_parts(way: str, user: User, parts: Sequence[RequestInfo], authorizer: Authorizer) -> None:
    if way:
        for what in parts:
            if problem := _never(what):
                raise forbidden(user, what, problem)
        if len(parts) >= _MANY:
            anything = replace(parts[0], name="*", subresource=parts[0].subresource and "*")
            try:
                await authorizer.check(user, anything)
            except StatusError as error:
                if error.reason != "Forbidden":
                    raise
            else:
                return
    for what in parts:
        await authorizer.check(user, what)


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


def _asked_for(way: str, wanted: User) -> Iterable[Sequence[RequestInfo]]:
    """Each of what must be allowed, by kind."""
    yield [_named(way, wanted.name)]
    if wanted.uid:
        yield [_impersonate(way, "uids", wanted.uid)]
    yield [_impersonate(way, "groups", each) for each in wanted.groups]
    yield [_impersonate(way, "userextras", value, subresource=key) for key, values in wanted.extra for value in values]


def _named(way: str, name: str) -> RequestInfo:
    account, node = _ACCOUNT.fullmatch(name), _NODE.fullmatch(name)
    if account:
        return _impersonate(way, "serviceaccounts", account[2], namespace=account[1])
    if node and way:
        return _impersonate(way, "nodes", node[1])
    return _impersonate(way, "users", name)


def _impersonate(way: str, resource: str, name: str, namespace: str = "", subresource: str = "") -> RequestInfo:
    path = f"//{namespace}/{subresource}/{name}"  # of no request; as long as what would be remembered
    verb = f"impersonate:{way}" if way else "impersonate"
    group = _AUTHENTICATION if way or resource in {"uids", "userextras"} else ""
    return RequestInfo(path, "", verb, group, "v1", namespace, resource, subresource, name)


def _never(what: RequestInfo) -> str:
    """Why nobody is allowed to be this in one of the narrower ways, if so."""
    if what.resource == "groups" and what.name in {"", PRIVILEGED}:
        return f"impersonating the {what.name or 'empty string'} group is not allowed"
    if what.resource != "userextras":
        return ""
    if not _KEY.fullmatch(what.subresource):
        return f"impersonating an invalid key in extra is not allowed: {quote(what.subresource)}"
    if what.subresource != what.subresource.lower():
        return f"impersonating a non-lowercase key in extra is not allowed: {quote(what.subresource)}"
    return "" if what.name else "impersonating the empty string value in extra is not allowed"


def _with_usual_groups(way: str, wanted: User) -> User:
    """Those that come with a name."""
    groups = wanted.groups
    if way == "arbitrary-node":
        groups = ("system:nodes",)
    elif not groups and (account := _ACCOUNT.fullmatch(wanted.name)):
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[1]}")
    usual = UNAUTHENTICATED if wanted.name == ANONYMOUS.name else AUTHENTICATED
    if usual not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, usual)
    return replace(wanted, groups=groups)


def _of_nobody(wanted: User) -> StatusError:
    extra = ", ".join(f"{quote(key)}:{_strings(values)}" for key, values in sorted(wanted.extra))
    told = (
        f'&user.DefaultInfo{{Name:"", UID:{quote(wanted.uid)}, Groups:{_strings(wanted.groups)},'
        f" Extra:map[string][]string{f'{{{extra}}}' if extra else '(nil)'}}}"
    )
    error = StatusError("BadRequest", f"requested {told} without impersonating a user name")
    error.is_about_access = True
    return error


def _strings(texts: Iterable[str]) -> str:
    """As Go's `%#v` has them."""
    inside = ", ".join(map(quote, texts))
    return f"[]string{{{inside}}}" if inside else "[]string(nil)"
