"""Who asks: the aggregator's word, a certificate, a token, or nobody, in the order of Kubernetes' own servers.

Source: k8s.io/apiserver/pkg/authentication/authenticatorfactory/delegating.go. A wrong proof beside no right one is an
error (401); no proof at all makes `system:anonymous`.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from cryptography import x509

from app.api.review_cache import Observe, Reviews
from app.api.status import StatusError
from app.api.tls import EXTENSION, ClientCertificate, anchor
from app.go_syntax import GoSyntaxError, unescaped
from app.kube.auth_config import AuthConfig
from app.kube.errors import KubernetesError
from app.kube.reviews import TokenOwner, User

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
TOKEN_THREADS = 4
MOST_TOKEN = 1 << 16
"""Bytes of a bearer token: the longest in use have some thousand."""
_MOST_REMEMBERED = 2048
"""Bytes of the headers that tell a user."""
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"

Headers = Iterable[tuple[bytes, bytes]]
ReviewToken = Callable[[str], TokenOwner]
"""A TokenReview, blocking. Raises KubernetesError."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how that was proved."""

    user: User
    by: str
    """`front-proxy`, `client-certificate`, `token`, or `anonymous` where it wasn't."""


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
_NOBODY = Caller(ANONYMOUS, "anonymous")
_NO_TOKEN = TokenOwner(None)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which client certificates prove what, ready for comparison."""

    clients: frozenset[bytes]
    """The CAs, as trust anchors, that vouch for the cluster's users and components."""
    proxies: frozenset[bytes]
    """The CAs that vouch for the aggregator."""
    headers: AuthConfig
    names_of_user: frozenset[bytes]
    """The headers in which the aggregator tells parts of the user, but for the extra ones."""

    @classmethod
    def of(cls, trust: AuthConfig) -> "Trust":
        """Take the bundles of PEM apart."""
        names = frozenset((*trust.username_headers, *trust.group_headers, *trust.uid_headers))
        return cls(_anchors(trust.client_ca_pem), _anchors(trust.requestheader_ca_pem), trust, names)

    def about_the_user(self, headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
        """Those in which the aggregator tells a part of the user."""
        names, prefixes = self.names_of_user, self.headers.extra_header_prefixes
        return tuple([each for each in headers if each[0] in names or each[0].startswith(prefixes)])


def _anchors(pem: str) -> frozenset[bytes]:
    return frozenset(map(anchor, x509.load_pem_x509_certificates(pem.encode()) if pem else []))


class Authenticator:
    """Tells who makes a request. `trust` may be exchanged at any time: it counts for open connections too."""

    def __init__(self, review_token: ReviewToken, observe: Observe = lambda *_: None) -> None:
        self.trust: Trust | None = None
        """None until the cluster's authentication configuration has been read: no certificate counts before."""
        self._review_token = review_token
        self._reviews = Reviews(
            "TokenReview", TOKEN_THREADS, _verdict, observe, kept=("authenticated", "unauthenticated")
        )

    async def caller(self, scope: Any) -> Caller:
        """Who makes a request. Raises StatusError 401 or, where nobody can be asked, 503."""
        certificate: ClientCertificate | None = scope["extensions"][EXTENSION]["client_certificate"]
        token = _bearer_token(scope["headers"])
        if certificate is None and not token:
            return _NOBODY  # whoever is trusted: so the kubelet hears how we are even while nobody is
        by_certificate = self.caller_by_certificate(scope)
        if by_certificate is not None:
            return by_certificate
        owner = await self._owner(token) if token else _NO_TOKEN
        if owner.user is not None:
            return Caller(_authenticated(owner.user), "token")
        unauthorized = StatusError("Unauthorized", "Unauthorized")
        if certificate is not None:
            unauthorized.add_note(_why_not(certificate, self.trust))
        unauthorized.add_note(owner.problem)  # for the log alone, as in Kubernetes
        raise unauthorized

    def caller_by_certificate(self, scope: Any) -> Caller | None:
        """The caller where no review is needed to know it."""
        certificate: ClientCertificate | None = scope["extensions"][EXTENSION]["client_certificate"]
        if certificate is None or self.trust is None:
            return None
        return _caller_by_certificate(certificate, scope["headers"], self.trust)

    async def _owner(self, token: bytes) -> TokenOwner:
        if len(token) > MOST_TOKEN:
            return TokenOwner(None, f"a bearer token of more than {MOST_TOKEN} bytes is nobody's")
        key = hashlib.sha256(token).digest()  # what is remembered shows no token
        ask = partial(self._review_token, token.decode("utf-8", "replace"))
        try:
            return await self._reviews.answer(key, ask)
        except KubernetesError as error:
            raise StatusError("ServiceUnavailable", f"the bearer token can't be reviewed: {error}") from error


def _verdict(owner: TokenOwner) -> str:
    if owner.user is not None:
        return "authenticated"
    return "undecided" if owner.problem else "unauthenticated"  # with a problem, kube-apiserver may know better soon


def _caller_by_certificate(certificate: ClientCertificate, headers: Headers, trust: Trust) -> Caller | None:
    if not certificate.is_valid_at(time.time()):
        return None
    if certificate.signed_by(trust.proxies) and _may_speak_for_others(certificate, trust.headers):
        user = _user_of_headers(trust.about_the_user(headers), trust.headers)
        if user is not None:
            return Caller(user, "front-proxy")
    if certificate.signed_by(trust.clients):
        return _caller_of_certificate(certificate)
    return None


def _why_not(certificate: ClientCertificate, trust: Trust | None) -> str:
    name = f"the client certificate of {certificate.common_name!r}"
    if trust is None:
        return f"{name} can't be judged before the cluster's authentication configuration has been read"
    if not certificate.is_valid_at(time.time()):
        return f"{name} has expired, or isn't valid yet"
    if certificate.signed_by(trust.proxies):
        allowed = _may_speak_for_others(certificate, trust.headers)
        return f"{name} came without a user" if allowed else f"{name} may not speak for others: not an allowed name"
    return f"{name} tells no user" if certificate.signed_by(trust.clients) else f"{name} is of a CA that counts no more"


def _may_speak_for_others(certificate: ClientCertificate, trust: AuthConfig) -> bool:
    # no allowed names at all means any name, as in Kubernetes: then the CA alone decides
    return not trust.allowed_names or certificate.common_name in trust.allowed_names


@lru_cache(maxsize=256)  # a certificate is its connection's, and many requests'
def _caller_of_certificate(certificate: ClientCertificate) -> Caller | None:
    """Source: CommonNameUserConversion in pkg/authentication/request/x509/x509.go."""
    if not certificate.common_name or certificate.uid is None:
        return None
    extra = ((_CREDENTIAL_ID, (f"X509SHA256={certificate.fingerprint}",)),)
    user = User(certificate.common_name, certificate.organizations, certificate.uid, extra)
    return Caller(_authenticated(user), "client-certificate")


def _user_of_headers(headers: tuple[tuple[bytes, bytes], ...], trust: AuthConfig) -> User | None:
    short = sum(len(name) + len(value) for name, value in headers) <= _MOST_REMEMBERED
    return _remembered(headers, trust) if short else _told(headers, trust)


def _told(headers: tuple[tuple[bytes, bytes], ...], trust: AuthConfig) -> User | None:
    """Source: pkg/authentication/request/headerrequest/requestheader.go."""
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value.decode("utf-8", "replace"))
    username = _first(values, trust.username_headers)
    if not username:
        return None
    groups = tuple(group for header in trust.group_headers for group in values.get(header, ()) if group)
    uid = _first(values, trust.uid_headers)
    return _authenticated(User(username, groups, uid, _extra(values, trust.extra_header_prefixes)))


_remembered = lru_cache(maxsize=1024)(_told)  # the aggregator speaks for few users, thousands of times


def _first(values: Mapping[bytes, list[str]], headers: Iterable[bytes]) -> str:
    return next((values[header][0] for header in headers if values.get(header, [""])[0]), "")


def _extra(values: Mapping[bytes, list[str]], prefixes: tuple[bytes, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    extra: dict[str, list[str]] = {}
    for prefix in prefixes:
        for header, listed in values.items():
            if header.startswith(prefix):
                extra.setdefault(_key(header.removeprefix(prefix)), []).extend(listed)
    return tuple((key, tuple(listed)) for key, listed in extra.items())


def _key(encoded: bytes) -> str:
    """In lower case as headers are, but for what is percent-encoded; what is so badly stays as it came."""
    try:
        key = unescaped(encoded)
    except GoSyntaxError:
        key = encoded.decode("latin-1")
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _bearer_token(headers: Headers) -> bytes:
    """Source: pkg/authentication/request/bearertoken/bearertoken.go; two spaces before a token make it none."""
    for name, value in headers:
        if name == b"authorization":
            scheme, *rest = value.strip().split(b" ", 2)
            return rest[0] if rest and scheme.lower() == b"bearer" else b""
    return b""


def _authenticated(user: User) -> User:
    if user.name == ANONYMOUS.name or not {AUTHENTICATED, UNAUTHENTICATED}.isdisjoint(user.groups):
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
