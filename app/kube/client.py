"""The connection to kube-apiserver: JSON in, JSON out, every failure one KubernetesError.

Blocking and thread-safe; the event loop calls it through `asyncio.to_thread`. It never retries: the caller knows
whether that is safe. It uses urllib3 alone, because the generated client of the `kubernetes` package costs 25 MB and
most of a second; that package only reads kubeconfigs, see credentials.py.
"""

import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from app.clock import Instant
from app.kube.credentials import Credentials, find_credentials
from app.kube.errors import KubernetesError, NotKubernetesError

_MAX_CONNECTIONS = 28
"""Kept open at most: about 24 threads that send requests, and the watches."""
_SOCKET_OPTIONS = [
    *urllib3.connection.HTTPConnection.default_socket_options,
    # A watch is silent for minutes; without probes, a peer that vanished would look like one without news.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
_HINTS = {
    401: "the credentials are not valid (any more): log in again, or use another context",
    403: "grant it by RBAC; the chart's roles have all that beanscale needs",
    404: "create it, or correct the name",
    409: "another client changed it first: read it again",
    422: "the object doesn't allow this change: if it is immutable, delete it",
    429: "kube-apiserver is busy: retry later",
}
_PAGE = 500
"""Items of a list in one response."""
_MAX_PAGE_BYTES = 4 * 2**20
"""Of such a response, unless it has a single item: parsed, it takes about ten times as much memory."""
_MAX_BYTES = 32 * 2**20
"""Of any response: an object has at most a few MiB."""
_MAX_CLOCK_ERROR_S = 100 * 365 * 86400.0
"""A Date header further away is not from a clock."""
_INVALID_DATES = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and …_HAS_EXPIRED (OpenSSL's x509_vfy.h)."""

Query = Mapping[str, str | int]


class Kubernetes:
    """One cluster, as one account."""

    def __init__(self, credentials: Credentials) -> None:
        self.server = credentials.server
        """`https://HOST:PORT`, for messages."""
        self.clock_ahead_s = 0.0
        """How far this machine's clock is ahead of the server's, by the Date header of the last response."""
        self.authorization = credentials.authorization
        """The Authorization header's value; see Credentials."""
        self._pool = VerifiedPool(credentials.tls, lambda tls: _create_pool(credentials, tls))

    def request(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout_s: float = 5.0,
        max_bytes: int = _MAX_BYTES,
    ) -> dict[str, Any]:
        """Send one request and return the JSON object of the response. Raise KubernetesError.

        `path` begins with a slash and is already quoted; `content_type` is the body's (PATCH needs one of its own);
        `timeout_s` bounds connecting, and each wait for bytes; `max_bytes` the response.
        """
        call = f"{method} {path}"
        headers, encoded = ({}, None) if body is None else ({"Content-Type": content_type}, json.dumps(body).encode())
        timeout = urllib3.Timeout(total=timeout_s)
        with self._sent(call, method, self._url(path, query), headers, body=encoded, timeout=timeout) as response:
            content = response.read(max_bytes + 1)
        with suppress(ValueError, OverflowError):  # a proxy's response may have no date, or an invalid one
            ahead_s = time.time() - parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
            if abs(ahead_s) < _MAX_CLOCK_ERROR_S:
                self.clock_ahead_s = ahead_s
        if len(content) > max_bytes:
            raise _TooLongError(
                f"{self.server} answered {call} with more than {max_bytes // 2**20} MiB",
                "delete large objects, or shorten them",
                status=response.status,
                reason="TooLong",
            )
        return self._object(call, response.status, content)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return an object, or None if there is none. Raise KubernetesError."""
        try:
            return self.request("GET", path)
        except KubernetesError as error:
            if error.status != 404:
                raise
            return None

    def pages(self, path: str, query: Query | None = None) -> Iterator[tuple[list[dict[str, Any]], str]]:
        """Yield the items of a list page by page, each with the list's resourceVersion. Raise KubernetesError.

        Pages are shorter where objects are large. Status 410 means that the list changed too much meanwhile: list
        again.
        """
        more, limit = "", _PAGE
        while True:
            part = {**(query or {}), "limit": limit, **({"continue": more} if more else {})}
            try:
                listed = self.request("GET", path, query=part, max_bytes=_MAX_PAGE_BYTES if limit > 1 else _MAX_BYTES)
            except _TooLongError:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)
                continue
            limit = min(_PAGE, 2 * limit)
            items, metadata = listed.get("items") or [], listed.get("metadata") or {}
            if not isinstance(metadata, dict) or not isinstance(items, list):
                raise NotKubernetesError(f"{self.server} answered GET {path} with something other than a list")
            if not all(isinstance(each, dict) for each in items):
                raise NotKubernetesError(
                    f"{self.server} answered GET {path} with a list of something other than objects"
                )
            yield items, str(metadata.get("resourceVersion", ""))
            more = metadata.get("continue") or ""
            if not more:
                return

    def watch(self, path: str, *, query: Query | None = None, timeout_s: float = 240.0) -> Iterator[dict[str, Any]]:
        """Yield watch events, `{"type": …, "object": …}`, until the server ends the watch after `timeout_s`.

        Raise KubernetesError, with status 410 and reason `Expired` if the resourceVersion is too old: list again.
        """
        call = f"WATCH {path}"
        url = self._url(path, {**(query or {}), "watch": "true", "timeoutSeconds": math.ceil(timeout_s)})
        timeout = urllib3.Timeout(connect=5.0, read=timeout_s + 5.0)  # longer than the server's own timeout
        with self._sent(call, "GET", url, {}, timeout=timeout) as response:
            if response.status >= 300:
                self._object(call, response.status, response.read())
            pending = b""
            for chunk in response.stream(2**16):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = self._object(call, 200, line)
                    if event.get("type") == "ERROR":
                        raise self._rejected(call, event.get("object"), 500)
                    yield event

    def server_time(self, now: Instant) -> datetime:
        """Return the server's time at `now`, by the last response; this machine's if there was none."""
        return datetime.fromtimestamp(now.unix_s - self.clock_ahead_s, UTC)

    def _url(self, path: str, query: Query | None) -> str:
        return f"{self.server}{path}?{urlencode(query)}" if query else f"{self.server}{path}"

    @contextmanager
    def _sent(
        self, call: str, method: str, url: str, headers: Mapping[str, str], **options: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request, and close its response in the end. Raise KubernetesError, also for what fails until then."""
        headers = {"Accept": "application/json", "User-Agent": "beanscale", **headers}
        if authorization := self.authorization():
            headers["Authorization"] = authorization
        try:
            response = self._pool.current().request(
                method, url, headers=headers, retries=False, preload_content=False, **options
            )
            try:
                yield response
            finally:
                response.close()  # closes the connection only if something is left unread
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(call, error) from error

    def _object(self, call: str, http_status: int, content: bytes) -> dict[str, Any]:
        """Return the JSON object in `content`. Raise KubernetesError if there is none, or the status is 300 or more."""
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            parsed = None
        if http_status >= 300:  # not JSON: a proxy's own response
            raise self._rejected(call, parsed, http_status)
        if not isinstance(parsed, dict):
            raise NotKubernetesError(
                f"{self.server} answered {call} with something other than a JSON object", status=http_status
            )
        return parsed

    def _rejected(self, call: str, content: object, http_status: int) -> KubernetesError:
        """Return the error for a `Status` object, or for anything else that came in its place."""
        given = content if isinstance(content, dict) else {}
        code = given.get("code")
        status = code if isinstance(code, int) and code else http_status
        reason = str(given.get("reason") or "")
        message = str(given.get("message") or reason or "no reason given").rstrip(".")
        return KubernetesError(
            f"{self.server} answered {call} with {status}: {message}",
            _HINTS.get(status, "kube-apiserver's log has details"),
            status=status,
            reason=reason,
        )

    def _unreachable(self, call: str, error: urllib3.exceptions.HTTPError) -> KubernetesError:
        root = root_cause(error)
        if isinstance(root, ssl.SSLCertVerificationError) and root.verify_code in _INVALID_DATES:
            hint = "check this machine's clock, and the dates of the server's certificate"
        elif isinstance(error, urllib3.exceptions.SSLError):
            hint = "the kubeconfig's certificate-authority, tls-server-name or client certificate doesn't fit"
        else:
            hint = "check that the server is running, and that its address is correct and reachable from here"
        reason = "ConnectionReset" if isinstance(root, CONNECTION_RESET) else "Unreachable"
        return KubernetesError(f"{self.server} can't be reached for {call}: {cause(error)}", hint, reason=reason)


class _TooLongError(KubernetesError):
    """The response is longer than allowed."""


def object_path(api: str, namespace: str, *parts: str) -> str:
    """Return the path of what is in a namespace: `parts` are the resource, and then an object's name, a subresource.

    `api` is `/api/v1` or `/apis/GROUP/VERSION`.
    """
    return "/".join((f"{api}/namespaces", *(quote(part, safe="") for part in (namespace, *parts))))


def connect(kubeconfig: Path | None, context: str | None) -> Kubernetes:
    """Return a client for the kubeconfig's cluster, or else the pod's; send nothing yet. Raise KubeconfigError."""
    return Kubernetes(find_credentials(kubeconfig, context))


class VerifiedPool[Pool]:
    """Connections that verify the server by the CA that is current now. Thread-safe."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], create: Callable[[ssl.SSLContext], Pool]) -> None:
        self._tls = tls
        self._create = create
        self._lock = threading.Lock()
        self._made: tuple[ssl.SSLContext, Pool] | None = None

    def current(self) -> Pool:
        """Return the pool to use now: another one after the CA changed. Requests in the old one still complete."""
        tls = self._tls()
        with self._lock:
            if self._made is None or self._made[0] is not tls:
                self._made = tls, self._create(tls)
            return self._made[1]


def _create_pool(credentials: Credentials, tls: ssl.SSLContext) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": _MAX_CONNECTIONS, "ssl_context": tls, "socket_options": _SOCKET_OPTIONS}
    if credentials.server_name:
        options["server_hostname"] = credentials.server_name
    return urllib3.ProxyManager(credentials.proxy, **options) if credentials.proxy else urllib3.PoolManager(**options)


CONNECTION_RESET = (ConnectionResetError, BrokenPipeError)
"""The server closed the connection, maybe an idle one just as it was taken out of the pool."""


def root_cause(error: urllib3.exceptions.HTTPError) -> BaseException:
    """Return the exception that urllib3 has wrapped."""
    return error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error.__cause__ or error


def cause(error: urllib3.exceptions.HTTPError) -> str:
    """Return the innermost cause in the words of the operating system or of OpenSSL."""
    root = root_cause(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        return root.verify_message.rstrip(".")
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return "timed out" if isinstance(error, urllib3.exceptions.TimeoutError) else str(root)
