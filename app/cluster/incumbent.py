"""The adapter that had the external metrics before, and still has those that aren't ours: asked as ourselves.

Any server of external.metrics.k8s.io will do. It gets our token, so it is verified first, by a CA of its own and its
name, and a redirect is never followed. Blocking and safe to share between threads, like client.py.
"""

import json
import ssl
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from time import monotonic
from urllib.parse import quote

import urllib3

from app.cluster.client import cause, root_cause
from app.cluster.errors import IncumbentError, KubernetesError
from app.cluster.incumbent_answers import GROUP_VERSION, read_names, read_refusal

MOST_CONNECTIONS = 8
MOST_BYTES = 4 << 20
"""Of one answer: ten thousand items and more."""
VIA = "1.1 beanscale"
"""Tells a beanscale that another one asks (RFC 9110, 7.6.3), so that two never ask each other for ever."""

_ROOT = f"/apis/{GROUP_VERSION}"
_PIECE = 1 << 16
_HUNG_UP = (ConnectionResetError, BrokenPipeError)
_TOO_LATE = "gave no answer in time; is it well?"
_REMEDIES = {
    401: "it doesn't accept the token of {}: it must ask this cluster whose a token is",
    403: "let {} list all resources of external.metrics.k8s.io, by a ClusterRole",
}
"""Of what is between it and us, and none of our callers' business."""


@dataclass(frozen=True, slots=True)
class Address:
    """Whom to ask."""

    name: str
    """The Service, for messages."""
    host: str
    """A DNS name or address that its certificate must have."""
    port: int


class Incumbent:
    """One external metrics server, and our account there."""

    def __init__(
        self,
        address: Address,
        tls: Callable[[], ssl.SSLContext],
        authorization: Callable[[], str | None],
    ) -> None:
        """`tls` and `authorization` as in Credentials."""
        self.name = address.name
        self._address = address
        self._tls = tls
        self._authorization = authorization
        self._lock = threading.Lock()
        self._verifying: ssl.SSLContext | None = None
        self._pool: urllib3.HTTPSConnectionPool

    def values(self, namespace: str, metric: str, query: str, until: float) -> bytes:
        """The values of a metric, for read_values to read; at most MOST_BYTES.

        `query` is quoted already; `until`, on time.monotonic's clock, is when nobody waits any more. Raises
        IncumbentError.
        """
        path = f"{_ROOT}/namespaces/{_segment(namespace)}/{_segment(metric)}"
        return self._get(f"{path}?{query}" if query else path, until)

    def metrics(self, until: float) -> tuple[str, ...]:
        """The names that its discovery lists, as far as ours can. Raises IncumbentError."""
        return read_names(self._get(_ROOT, until))

    def _get(self, target: str, until: float) -> bytes:
        try:
            authorization, pool = self._authorization(), self._current()
        except KubernetesError as error:
            raise IncumbentError(f"can't be asked: {error}") from error
        if authorization is None:
            raise IncumbentError(
                "can't be asked: our credentials are no token, and nothing else may be shown to it; run in a pod"
            )
        try:
            status, content = _exchange(pool, target, authorization, until)
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        if status == 200:
            return content
        raise _not_given(status, content, authorization)

    def _current(self) -> urllib3.HTTPSConnectionPool:
        """The pool to use now. A CA that has changed takes a new one; what is under way in the old one is finished."""
        tls = self._tls()
        with self._lock:
            if tls is not self._verifying:
                self._verifying, self._pool = tls, self._new_pool(tls)
            return self._pool

    def _new_pool(self, tls: ssl.SSLContext) -> urllib3.HTTPSConnectionPool:
        return urllib3.HTTPSConnectionPool(
            self._address.host, self._address.port, maxsize=MOST_CONNECTIONS, ssl_context=tls
        )

    def _unreachable(self, error: urllib3.exceptions.HTTPError) -> IncumbentError:
        root = root_cause(error)
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return IncumbentError(_TOO_LATE)
        if isinstance(root, IncompleteRead):
            return IncumbentError("hung up in the middle of its answer; its log may tell why")
        remedy = f"is it running, and reachable at {self._address.host} port {self._address.port} from here?"
        if isinstance(root, ssl.SSLError):
            remedy = f"its certificate must be for {self._address.host}, and the CA given must vouch for it"
        return IncumbentError(f"can't be asked: {cause(error).rstrip('.')}; {remedy}")


def _exchange(pool: urllib3.HTTPSConnectionPool, target: str, authorization: str, until: float) -> tuple[int, bytes]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "beanscale",
        "Via": VIA,
        "Authorization": authorization,
    }
    try:
        response = _opened(pool, target, headers, until)
    except urllib3.exceptions.ProtocolError as error:
        if not isinstance(root_cause(error), _HUNG_UP):
            raise
        # It closed a connection that was kept open just when we took it: no reason to keep an autoscaler waiting.
        response = _opened(pool, target, headers, until)
    try:
        return response.status, _body(response, until)
    finally:
        response.close()  # of one that was read to its end, the connection is back in the pool


def _opened(
    pool: urllib3.HTTPSConnectionPool, target: str, headers: Mapping[str, str], until: float
) -> urllib3.BaseHTTPResponse:
    timeout = urllib3.Timeout(total=left_s(until))
    return pool.request(
        "GET", target, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
    )


def _body(response: urllib3.BaseHTTPResponse, until: float) -> bytes:
    body = bytearray()
    while piece := response.read1(_PIECE, decode_content=False):
        body += piece
        if len(body) > MOST_BYTES:
            raise IncumbentError(f"answered with more than {MOST_BYTES >> 20} MiB; a selector makes the answer shorter")
        left_s(until)
    return bytes(body)


def left_s(until: float) -> float:
    """Seconds that are left. Raises IncumbentError where none are."""
    left = until - monotonic()
    if left <= 0:
        raise IncumbentError(_TOO_LATE)
    return left


def _not_given(status: int, content: bytes, authorization: str) -> IncumbentError:
    if 300 <= status < 400:
        return IncumbentError(f"answered {status}, a redirect, and our token goes nowhere else")
    if status < 400:
        return IncumbentError(f"answered {status} instead of 200; is it an external metrics server?")
    refusal = read_refusal(status, content)
    if status in _REMEDIES:
        return IncumbentError(f"{refusal}; {_REMEDIES[status].format(_account(authorization))}")
    return refusal


def _account(authorization: str) -> str:
    """Whose our token is, as far as it says so itself (RFC 7519)."""
    payload = authorization.partition(".")[2].partition(".")[0]
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return "our account"
    subject = claims.get("sub") if isinstance(claims, dict) else None
    match subject.split(":") if isinstance(subject, str) else ():
        case ["system", "serviceaccount", namespace, name]:
            return f"ServiceAccount {namespace}/{name}"
    return f"our account {subject!r}" if subject else "our account"


def _segment(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
