"""The external metrics adapter that serves all metrics that beanscale doesn't, queried with an account of its own.

Any server of external.metrics.k8s.io will do. It gets a token, so it is verified by its name and its own CA, and a
redirect is never followed. With that token it could only read external metrics, for ten minutes. A response is checked
for status, size and kind; its content is passed through.
Blocking and thread-safe, like client.py.
"""

import json
import re
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from time import monotonic
from typing import Any
from urllib.parse import quote

import urllib3

from app.kube.client import CONNECTION_RESET, VerifiedPool, cause, root_cause
from app.kube.errors import KubernetesError

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
MAX_CONNECTIONS = 8
MAX_BYTES = 4 << 20
"""Of one response: ten thousand items and more."""
MAX_NAMES = 500
"""Metrics that are listed: each burdens every client and controller of the cluster."""
MAX_MESSAGE = 4096
"""Characters of an error message."""
VIA = "1.1 beanscale"
"""Identifies a beanscale to another one (RFC 9110, 7.6.3), so that two never forward to each other in a loop."""

_MAX_RETRY_AFTER_S = 3600
_ROOT = f"/apis/{GROUP_VERSION}"
_NAME = re.compile(r"[a-z0-9]([a-z0-9._:-]{0,251}[a-z0-9])?")
"""What discovery can list: client-go lowercases names, and a slash would be a subresource."""
_TIMED_OUT = "timed out; check its pods"


class UpstreamError(Exception):
    """The upstream adapter sent nothing that may be passed on.

    `str()` is a clause that follows the adapter's name: what it did, the cause, what to do.
    """


class UpstreamStatusError(UpstreamError):
    """The upstream adapter responded with a `Status` of its own."""

    def __init__(self, code: int, reason: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(f"answered {code}: {message}")
        self.code = code
        """The HTTP status, 400 to 599."""
        self.reason = reason
        """Kubernetes' reason (`NotFound`, `InternalError`…); empty if it sent none."""
        self.message = message
        self.retry_after_s = retry_after_s
        """Whole seconds after which to retry; 0 if it sent none."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the adapter is."""

    name: str
    """The Service, for messages."""
    host: str
    """A DNS name or IP address that its certificate must have."""
    port: int


class UpstreamAdapter:
    """One external metrics server, and beanscale's account there."""

    def __init__(self, address: Address, tls: Callable[[], ssl.SSLContext], authorization: Callable[[], str]) -> None:
        """`tls` as in Credentials; `authorization` returns the header's value and raises KubernetesError."""
        self.name = address.name
        self._address = address
        self._authorization = authorization
        self._pool = VerifiedPool(
            tls,
            lambda tls: urllib3.HTTPSConnectionPool(
                address.host, address.port, maxsize=MAX_CONNECTIONS, ssl_context=tls
            ),
        )

    def values(self, namespace: str, metric: str, query: str, until: float) -> bytes:
        """Return the values of a metric, for read_values to parse; at most MAX_BYTES. Raise UpstreamError.

        `query` is quoted already; `until`, on time.monotonic's clock, is the deadline.
        """
        namespace, metric = (quote(each, safe="", errors="surrogateescape") for each in (namespace, metric))
        path = f"{_ROOT}/namespaces/{namespace}/{metric}"
        return self._get(f"{path}?{query}" if query else path, until)

    def metrics(self, until: float) -> tuple[str, ...]:
        """Return the names that its discovery lists, as far as beanscale's can list them. Raise UpstreamError."""
        return read_names(self._get(_ROOT, until))

    def _get(self, target: str, until: float) -> bytes:
        try:
            authorization, pool = self._authorization(), self._pool.current()
        except KubernetesError as error:
            raise UpstreamError(f"can't be queried: {error}") from error
        try:
            status, content = _exchange(pool, target, authorization, until)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise UpstreamError(_TIMED_OUT) from error
        except urllib3.exceptions.HTTPError as error:
            root = root_cause(error)
            if isinstance(root, IncompleteRead):
                raise UpstreamError("closed the connection before its response was complete; see its log") from error
            hint = f"check that it is running and reachable at {self._address.host} port {self._address.port}"
            if isinstance(root, ssl.SSLError):
                hint = f"its certificate must name {self._address.host} and be signed by the configured CA"
            raise UpstreamError(f"can't be queried: {cause(error).rstrip('.')}; {hint}") from error
        return _checked(status, content, authorization)


def _checked(status: int, content: bytes, authorization: str) -> bytes:
    """Return `content` if the status is 200. Raise UpstreamError."""
    if status == 200:
        return content
    if 300 <= status < 400:
        raise UpstreamError(f"answered {status}: redirect not followed, to protect the token")
    if status < 400:
        raise UpstreamError(f"answered {status} instead of 200; check that it is an external metrics server")
    error, account = read_error(status, content), _account(authorization)
    # About beanscale's permissions: an UpstreamStatusError would look as if it were about the client's.
    if status == 401:
        raise UpstreamError(
            f"{error}; it rejected the token of {account}: it must verify tokens with this cluster (TokenReview)"
        )
    if status == 403:
        raise UpstreamError(f"{error}; let {account} list all resources of external.metrics.k8s.io, by a ClusterRole")
    raise error


def _exchange(pool: urllib3.HTTPSConnectionPool, target: str, authorization: str, until: float) -> tuple[int, bytes]:
    """Return status and body. Raise UpstreamError after `until` or MAX_BYTES, and urllib3's errors."""
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "beanscale",
        "Via": VIA,
        "Authorization": authorization,
    }

    def send() -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(total=seconds_left(until))
        return pool.request(
            "GET", target, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
        )

    try:
        response = send()
    except urllib3.exceptions.ProtocolError as error:
        if not isinstance(root_cause(error), CONNECTION_RESET):
            raise
        # The server closed an idle keep-alive connection as it was reused: retry once.
        response = send()
    try:
        body = bytearray()
        while piece := response.read1(1 << 16, decode_content=False):
            body += piece
            if len(body) > MAX_BYTES:
                raise UpstreamError(f"answered with more than {MAX_BYTES >> 20} MiB; narrow the query by a selector")
            seconds_left(until)
        return response.status, bytes(body)
    finally:
        response.close()  # the connection of one that was read to its end is already back in the pool


def seconds_left(until: float) -> float:
    """Return the seconds until a deadline on time.monotonic's clock. Raise UpstreamError if it has passed."""
    left = until - monotonic()
    if left <= 0:
        raise UpstreamError(_TIMED_OUT)
    return left


def read_values(content: bytes) -> Mapping[str, Any]:
    """Return an `ExternalMetricValueList`. Raise UpstreamError if it is something else."""
    return _list_object(content, "ExternalMetricValueList", "apiVersion", "items")


def read_names(content: bytes) -> tuple[str, ...]:
    """Return the metrics of an `APIResourceList`, sorted, those that discovery can list. Raise UpstreamError."""
    resources = _list_object(content, "APIResourceList", "groupVersion", "resources").get("resources") or []
    names = {resource.get("name") for resource in resources if isinstance(resource, dict)}
    return tuple(sorted(name for name in names if isinstance(name, str) and _NAME.fullmatch(name))[:MAX_NAMES])


def read_error(code: int, content: bytes) -> UpstreamError:
    """Return the error for a response with a status of 400 or more: an UpstreamStatusError if it is a `Status`."""
    match _parsed(content):
        case {"kind": "Status", "message": str(message), **status}:
            details, reason = status.get("details"), status.get("reason")
            retry_after = details.get("retryAfterSeconds") if isinstance(details, dict) else 0
            return UpstreamStatusError(
                code,
                reason if isinstance(reason, str) else "",
                " ".join(message[:MAX_MESSAGE].split()) or "no reason given",
                retry_after if type(retry_after) is int and 0 < retry_after <= _MAX_RETRY_AFTER_S else 0,
            )
    return UpstreamError(f"answered {code} without a reason; see its log")


def _list_object(content: bytes, kind: str, version_field: str, list_field: str) -> Mapping[str, Any]:
    """Return the object if it has this kind, version and list. Go writes null for an empty list."""
    parsed: Any = _parsed(content)
    problem = None
    if not isinstance(parsed, dict):
        problem = "that isn't a JSON object"
    elif (parsed.get("kind"), parsed.get(version_field)) != (kind, GROUP_VERSION):
        problem = f"of kind {str(parsed.get('kind'))[:64]!r} ({str(parsed.get(version_field))[:64]!r}), not {kind}"
    elif not isinstance(parsed.get(list_field), (list, type(None))):
        problem = f"whose {list_field} are not a list"
    if problem:
        raise UpstreamError(f"answered with something {problem}; check that it is an external metrics server")
    listed: Mapping[str, Any] = parsed
    return listed


def _parsed(content: bytes) -> Any:
    """Return the JSON value; None if it is none, or nested too deeply."""

    def reject(constant: str) -> Any:
        raise ValueError(constant)  # NaN and Infinity, which only Python accepts

    try:
        return json.loads(content, parse_constant=reject)
    except (ValueError, RecursionError):
        return None


def _account(authorization: str) -> str:
    """Return the account that a token names as its subject (RFC 7519), for messages."""
    payload = authorization.partition(".")[2].partition(".")[0]
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        claims = None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    match subject.split(":") if isinstance(subject, str) else ():
        case ["system", "serviceaccount", namespace, name]:
            return f"ServiceAccount {namespace}/{name}"
    return f"beanscale's account {subject!r}" if subject else "beanscale's account"
