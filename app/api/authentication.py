"""Authentication: front proxy, client certificate or bearer token, else anonymous, in kube-apiserver's order.

A wrong credential without a right one is an error (401); no credential at all is `system:anonymous`.
Source: k8s.io/apiserver/pkg/authentication/authenticatorfactory/delegating.go.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.request import Caller, Headers, Request, percent_decoded
from app.api.review_cache import Observe, ReviewCache
from app.api.status import StatusError
from app.api.tls import EXTENSION, ClientCertificate
from app.kube.auth_config import AuthConfig, AuthConfigWatcher
from app.kube.errors import KubernetesError
from app.kube.reviews import TokenOwner, User

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
TOKEN_THREADS = 4
MAX_TOKEN = 1 << 16
"""Bytes of a bearer token: the longest in use have some thousand."""
_MAX_CACHED = 2048
"""Bytes of the headers that describe a user."""
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_ANONYMOUS = Caller(ANONYMOUS, "anonymous")

ReviewToken = Callable[[str], TokenOwner]
"""A TokenReview, blocking. Raises KubernetesError."""


class Authentication:
    """Middleware: sets the request's caller, or raises StatusError."""

    def __init__(self, app: ASGIApp, authenticator: "Authenticator") -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["request"].caller = await self._authenticator.caller(scope)
        await self._app(scope, receive, send)


class Authenticator:
    """Determines who sent a request, by the authentication configuration of that moment."""

    def __init__(
        self, auth_config: AuthConfigWatcher, review_token: ReviewToken, observe: Observe = lambda *_: None
    ) -> None:
        self._auth_config = auth_config
        self._review_token = review_token

        def verdict(owner: TokenOwner) -> str:
            if owner.user is not None:
                return "authenticated"
            return "undecided" if owner.problem else "unauthenticated"  # a problem: kube-apiserver may decide soon

        cached = "authenticated", "unauthenticated"
        self._reviews = ReviewCache("TokenReview", TOKEN_THREADS, verdict, cached, observe)

    async def caller(self, scope: Scope) -> Caller:
        """Return the caller. Raises StatusError: 401, 429 or 503 if the token can't be reviewed now."""
        request: Request = scope["request"]
        certificate: ClientCertificate | None = scope["extensions"][EXTENSION]["client_certificate"]
        by_certificate = self._caller_by_certificate(scope, certificate)
        if by_certificate is not None:
            return by_certificate
        # Source: pkg/authentication/request/bearertoken/bearertoken.go; two spaces before a token leave none.
        scheme, *rest = request.headers.get(b"authorization", b"").strip().split(b" ", 2)
        token = rest[0] if rest and scheme.lower() == b"bearer" else b""
        if certificate is None and not token:
            return _ANONYMOUS  # also before the configuration is loaded: the kubelet's probes have no credential
        unauthorized = StatusError("Unauthorized", "Unauthorized")
        if certificate is not None:
            unauthorized.add_note(_why_not(certificate, self._auth_config.current))
        if len(token) > MAX_TOKEN:
            unauthorized.add_note(f"the bearer token exceeds {MAX_TOKEN} bytes")
        elif token:
            key = hashlib.sha256(token).digest()  # the cache holds no token
            try:
                review = partial(self._review_token, token.decode("utf-8", "replace"))
                owner = await self._reviews.get(scope["client"][:1], key, review)
            except KubernetesError as error:
                unavailable = StatusError("ServiceUnavailable", "the bearer token can't be reviewed now; retry later")
                unavailable.add_note(str(error))  # names kube-apiserver's address
                raise unavailable from error
            if owner.user is not None:
                return Caller(_with_authenticated_group(owner.user), "token")
            unauthorized.add_note(owner.problem)
        raise unauthorized

    def _caller_by_certificate(self, scope: Scope, certificate: ClientCertificate | None) -> Caller | None:
        """Return the caller if the client certificate alone proves it."""
        config = self._auth_config.current
        if certificate is None or config is None or not certificate.is_valid_at(time.time()):
            return None
        if certificate.signed_by(config.proxy_anchors) and _is_allowed_proxy(certificate, config):
            names, prefixes = config.user_headers, config.extra_header_prefixes
            headers = tuple([each for each in scope["headers"] if each[0] in names or each[0].startswith(prefixes)])
            is_short = sum([len(name) + len(value) for name, value in headers]) <= _MAX_CACHED
            caller = (_cached_caller if is_short else _caller_of_headers)(headers, config)
            if caller is not None:
                return caller
        return _caller_of_certificate(certificate) if certificate.signed_by(config.client_anchors) else None


def _why_not(certificate: ClientCertificate, config: AuthConfig | None) -> str:
    """Return for the log why a certificate proves nothing."""
    name = f"the client certificate of {certificate.common_name!r}"
    if config is None:
        return f"{name} can't be verified until the authentication configuration is loaded"
    if not certificate.is_valid_at(time.time()):
        return f"{name} has expired or isn't valid yet"
    if certificate.signed_by(config.proxy_anchors):
        if _is_allowed_proxy(certificate, config):
            return f"{name} sent no user header"
        return f"{name} can't act as front proxy: name not in requestheader-allowed-names"
    if certificate.signed_by(config.client_anchors):
        return f"{name} names no user"
    return f"{name} is signed by a CA that is no longer trusted"


def _is_allowed_proxy(certificate: ClientCertificate, config: AuthConfig) -> bool:
    # no names at all allow any name, as in Kubernetes: then the CA alone decides
    return not config.allowed_names or certificate.common_name in config.allowed_names


@lru_cache(maxsize=256)  # a certificate belongs to its connection, and to many requests
def _caller_of_certificate(certificate: ClientCertificate) -> Caller | None:
    """Source: CommonNameUserConversion in pkg/authentication/request/x509/x509.go."""
    if not certificate.common_name or certificate.uid is None:
        return None
    extra = ((_CREDENTIAL_ID, (f"X509SHA256={certificate.fingerprint}",)),)
    user = User(certificate.common_name, certificate.organizations, certificate.uid, extra)
    return Caller(_with_authenticated_group(user), "client-certificate")


def _caller_of_headers(headers: Headers, config: AuthConfig) -> Caller | None:
    """Return the caller whom the front proxy describes, or None without a name.

    Source: pkg/authentication/request/headerrequest/requestheader.go.
    """
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value.decode("utf-8", "replace"))
    username = _first(values, config.username_headers)
    if not username:
        return None
    groups = tuple(group for header in config.group_headers for group in values.get(header, ()) if group)
    extra: dict[str, list[str]] = {}
    for prefix in config.extra_header_prefixes:
        for header, listed in values.items():
            if header.startswith(prefix):
                key = header.removeprefix(prefix)
                decoded = percent_decoded(key)  # lower case, except what is percent-encoded
                text = key.decode("latin-1") if decoded is None else decoded
                extra.setdefault(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), []).extend(listed)
    several = tuple((key, tuple(listed)) for key, listed in extra.items())
    user = User(username, groups, _first(values, config.uid_headers), several)
    return Caller(_with_authenticated_group(user), "front-proxy")


_cached_caller = lru_cache(maxsize=1024)(_caller_of_headers)  # the aggregator forwards for few users again and again


def _first(values: Mapping[bytes, list[str]], headers: tuple[bytes, ...]) -> str:
    return next((values[header][0] for header in headers if values.get(header, [""])[0]), "")


def _with_authenticated_group(user: User) -> User:
    if user.name == ANONYMOUS.name or not {AUTHENTICATED, UNAUTHENTICATED}.isdisjoint(user.groups):
        return user
    return user._replace(groups=(*user.groups, AUTHENTICATED))
