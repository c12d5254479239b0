"""Who asks: the aggregator's word, a certificate, a token, or nobody, in the order of Kubernetes' own servers.

Source: k8s.io/apiserver/pkg/authentication/authenticatorfactory/delegating.go. A wrong proof beside no right one is an
error (401); no proof at all makes `system:anonymous`.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from cachetools import TTLCache
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app.api.status import StatusError
from app.api.tls import EXTENSION, ClientCertificate
from app.cluster.client import KubernetesError
from app.cluster.request_header import ClientTrust
from app.cluster.reviews import User

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
CACHED_S = 10.0
MOST_TOKENS = 4096

Headers = Iterable[tuple[bytes, bytes]]
ReviewToken = Callable[[str], User | None]
"""A TokenReview, blocking; None: the token is nobody's. Raises KubernetesError."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which client certificates prove what, ready for comparison."""

    clients: frozenset[bytes]
    """The CAs, as DER, that vouch for the cluster's users and components."""
    proxies: frozenset[bytes]
    """The CAs, as DER, that vouch for the aggregator."""
    headers: ClientTrust

    @classmethod
    def of(cls, trust: ClientTrust) -> "Trust":
        """Take the bundles of PEM apart."""
        return cls(_authorities(trust.client_ca_pem), _authorities(trust.requestheader_ca_pem), trust)

    def is_about_the_user(self, header: tuple[bytes, bytes]) -> bool:
        """Whether the aggregator tells a part of the user in it."""
        trust, name = self.headers, header[0]
        return (
            name.startswith(trust.extra_header_prefixes)
            or name in trust.username_headers
            or name in trust.group_headers
            or name in trust.uid_headers
        )


def _authorities(pem: str) -> frozenset[bytes]:
    certificates = x509.load_pem_x509_certificates(pem.encode()) if pem else []
    return frozenset(certificate.public_bytes(Encoding.DER) for certificate in certificates)


class Authenticator:
    """Tells each request's user. `trust` may be exchanged at any time: it counts for open connections too."""

    def __init__(self, review_token: ReviewToken) -> None:
        self.trust: Trust | None = None
        """None until the cluster's authentication configuration has been read: nobody gets in before."""
        self._review_token = review_token
        self._tokens: TTLCache[bytes, asyncio.Future[User | None]] = TTLCache(MOST_TOKENS, CACHED_S)

    async def user(self, scope: Any) -> User:
        """The user of a request. Raises StatusError 401 or, where nobody can be asked, 503."""
        certificate: ClientCertificate | None = scope["extensions"][EXTENSION]["client_certificate"]
        token = _bearer_token(scope["headers"])
        if certificate is None and not token:
            return ANONYMOUS  # whoever is trusted: so the kubelet hears how we are even while nobody is
        if self.trust is None:
            raise StatusError("ServiceUnavailable", "the cluster's authentication configuration hasn't been read yet")
        if certificate is not None:
            user = _user_of_certificate(certificate, scope["headers"], self.trust)
            if user is not None:
                return user
        if token:
            user = await self._user_of_token(token)
            if user is not None:
                return _authenticated(user)
        raise StatusError("Unauthorized", "Unauthorized")

    def user_of_certificate(self, scope: Any) -> User | None:
        """The user where no review is needed to know it."""
        certificate: ClientCertificate | None = scope["extensions"][EXTENSION]["client_certificate"]
        if certificate is None or self.trust is None:
            return None
        return _user_of_certificate(certificate, scope["headers"], self.trust)

    async def _user_of_token(self, token: str) -> User | None:
        key = hashlib.sha256(token.encode()).digest()  # a memory dump or a log shows no token
        review = self._tokens.get(key)
        if review is None:
            review = self._tokens[key] = asyncio.ensure_future(asyncio.to_thread(self._review_token, token))
        try:
            return await asyncio.shield(review)
        except KubernetesError as error:
            self._tokens.pop(key, None)
            raise StatusError("ServiceUnavailable", f"the bearer token can't be reviewed: {error}") from error


def _user_of_certificate(certificate: ClientCertificate, headers: Headers, trust: Trust) -> User | None:
    if certificate.valid_until_s < time.time():
        return None
    if certificate.signed_by(trust.proxies) and _may_speak_for_others(certificate, trust.headers):
        user = _user_of_headers(tuple(filter(trust.is_about_the_user, headers)), trust.headers)
        if user is not None:
            return user
    if certificate.signed_by(trust.clients) and certificate.common_name:
        return _authenticated(User(certificate.common_name, certificate.organizations))
    return None


def _may_speak_for_others(certificate: ClientCertificate, trust: ClientTrust) -> bool:
    # no allowed names at all means any name, as in Kubernetes: then the CA alone decides
    return not trust.allowed_names or certificate.common_name in trust.allowed_names


@lru_cache(maxsize=1024)  # the aggregator speaks for few users, thousands of times
def _user_of_headers(headers: tuple[tuple[bytes, bytes], ...], trust: ClientTrust) -> User | None:
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value.decode("utf-8", "replace"))
    username = _first(values, trust.username_headers)
    if not username:
        return None
    groups = tuple(group for header in trust.group_headers for group in values.get(header, ()))
    uid = _first(values, trust.uid_headers)
    return _authenticated(User(username, groups, uid, _extra(values, trust.extra_header_prefixes)))


def _first(values: Mapping[bytes, list[str]], headers: Iterable[bytes]) -> str:
    return next((values[header][0] for header in headers if values.get(header, [""])[0]), "")


def _extra(values: Mapping[bytes, list[str]], prefixes: tuple[bytes, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (unquote(header[len(prefix) :].decode("latin-1")).lower(), tuple(listed))
        for header, listed in values.items()
        for prefix in prefixes
        if header.startswith(prefix)
    )


def _bearer_token(headers: Headers) -> str:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.strip().partition(b" ")
            return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""
    return ""


def _authenticated(user: User) -> User:
    if user.name == ANONYMOUS.name or not {AUTHENTICATED, UNAUTHENTICATED}.isdisjoint(user.groups):
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
