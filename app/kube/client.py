"""The connection to kube-apiserver: JSON in, JSON out, every failure one KubernetesError.

Blocking and safe to share between threads; the event loop calls it through `asyncio.to_thread`. It never retries:
whoever asks knows whether to ask again. It is urllib3 alone, because the generated client of the `kubernetes` package
costs 25 MB and most of a second; the package reads kubeconfigs, see credentials.py.
"""

import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from app.kube.credentials import Credentials, find_credentials
from app.kube.errors import KubernetesError

_CONNECTIONS = 20
"""Kept open at most: about 16 threads that ask, and the watches."""

_NOTICE_DEAD_PEERS = [
    *urllib3.connection.HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # A watch says nothing for minutes: without probes a peer that vanished would look like one with no news.
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]

_REMEDIES = {
    401: "the credentials aren't valid (any more): log in again, or use another context",
    403: "grant it by RBAC; the chart's roles have all that beanscale needs",
    404: "create it, or correct the name",
    409: "somebody else was first: read it again",
    422: "the object refuses the change: if it is immutable, delete it",
    429: "kube-apiserver is busy: ask again later",
}

_CENTURY_S = 100 * 365 * 86400.0
"""A date so far away is no clock's."""
_WRONG_DATES = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and …_HAS_EXPIRED (OpenSSL's x509_vfy.h)."""
_RESET = (ConnectionResetError, BrokenPipeError)
"""The server hung up on us: it may well have been about to, when we took the connection out of the pool."""

Query = Mapping[str, str | int]


class Kubernetes:
    """One cluster, as one account."""

    def __init__(self, credentials: Credentials) -> None:
        self.server = credentials.server
        """`https://HOST:PORT`, for messages."""
        self.clock_ahead_s = 0.0
        """How far our wall clock is ahead of the server's, about: as the head of its last answer told."""
        self.authorization = credentials.authorization
        """Who we are, as the Authorization header says it; see Credentials."""
        self._credentials = credentials
        self._pools = _Pools(credentials)

    def request(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout_s: float = 5.0,
    ) -> dict[str, Any]:
        """Ask once and return the JSON object of the answer.

        `path` begins with a slash and is already quoted; `content_type` is the body's (PATCH needs one of its own);
        `timeout_s` bounds connecting, and each wait for bytes. Raises KubernetesError.
        """
        url, asked = self._url(path, query), f"{method} {path}"
        encoded = None if body is None else json.dumps(body).encode()
        headers = self._headers() | ({} if body is None else {"Content-Type": content_type})
        try:
            response = self._pools.current().request(
                method, url, body=encoded, headers=headers, timeout=urllib3.Timeout(total=timeout_s), retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(asked, error) from error
        self._compare_clocks(response.headers.get("Date", ""))
        return self._read(asked, response.status, response.data)

    def watch(self, path: str, *, query: Query | None = None, timeout_s: float = 240.0) -> Iterator[dict[str, Any]]:
        """Watch events, `{"type": …, "object": …}`, until the server ends the watch after `timeout_s`.

        Raises KubernetesError, with status 410 and reason `Expired` when the resourceVersion is too old: list again.
        """
        asked = f"WATCH {path}"
        watching: Query = {**(query or {}), "watch": "true", "timeoutSeconds": math.ceil(timeout_s)}
        timeout = urllib3.Timeout(connect=5.0, read=timeout_s + 5.0)  # longer than the server's own end
        try:
            response = self._pools.current().request(
                "GET",
                self._url(path, watching),
                headers=self._headers(),
                timeout=timeout,
                retries=False,
                preload_content=False,
            )
            try:
                if response.status >= 300:
                    self._read(asked, response.status, response.read())
                yield from self._events(asked, response)
            finally:
                response.close()  # an unread stream can't go back to the pool
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(asked, error) from error

    def _events(self, asked: str, response: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
        pending = b""
        for chunk in response.stream(2**16):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in filter(None, lines):
                event = self._object(asked, 200, line)
                if event.get("type") == "ERROR":
                    raise self._refusal(asked, event.get("object") or {}, 500)
                yield event

    def _compare_clocks(self, date: str) -> None:
        with suppress(ValueError, OverflowError):  # a proxy's answer may have no date, or a strange one
            ahead_s = time.time() - parsedate_to_datetime(date).timestamp()
            if abs(ahead_s) < _CENTURY_S:
                self.clock_ahead_s = ahead_s

    def _url(self, path: str, query: Query | None) -> str:
        return f"{self.server}{path}?{urlencode(query)}" if query else f"{self.server}{path}"

    def _headers(self) -> dict[str, str]:
        authorization = self._credentials.authorization()
        headers = {"Accept": "application/json", "User-Agent": "beanscale"}
        return headers | ({"Authorization": authorization} if authorization else {})

    def _read(self, asked: str, status: int, content: bytes) -> dict[str, Any]:
        if status >= 300:
            raise self._refusal(asked, _status_object(content), status)
        return self._object(asked, status, content)

    def _object(self, asked: str, status: int, content: bytes) -> dict[str, Any]:
        parsed = _parsed(content)
        if not isinstance(parsed, dict):
            raise KubernetesError(
                f"{self.server} answered {asked} with something other than a JSON object",
                "is it a kube-apiserver?",
                status=status,
                reason="NotKubernetes",
            )
        return parsed

    def _refusal(self, asked: str, status_object: Mapping[str, Any], http_status: int) -> KubernetesError:
        code = status_object.get("code")
        status = code if isinstance(code, int) and code else http_status
        reason = str(status_object.get("reason") or "")
        why = str(status_object.get("message") or reason or "no reason given").rstrip(".")
        remedy = _REMEDIES.get(status, "kube-apiserver's log says more")
        return KubernetesError(
            f"{self.server} answered {asked} with {status}: {why}", remedy, status=status, reason=reason
        )

    def _unreachable(self, asked: str, error: urllib3.exceptions.HTTPError) -> KubernetesError:
        return KubernetesError(
            f"{self.server} can't be asked {asked}: {cause(error)}",
            _network_remedy(error),
            reason="ConnectionReset" if isinstance(root_cause(error), _RESET) else "Unreachable",
        )


def connect(kubeconfig: Path | None, context: str | None) -> Kubernetes:
    """A client for the kubeconfig's cluster, or for the one we run in; nothing is asked yet. Raises KubeconfigError."""
    return Kubernetes(find_credentials(kubeconfig, context))


class _Pools:
    """Connections that verify the server by what the cluster's CA is now."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._lock = threading.Lock()
        self._tls = credentials.tls()
        self._pool = _pool(credentials, self._tls)

    def current(self) -> urllib3.PoolManager:
        """The pool to use now. A CA that has changed takes a new one; what is under way in the old one is finished."""
        tls = self._credentials.tls()
        with self._lock:
            if tls is not self._tls:
                self._pool.clear()
                self._tls, self._pool = tls, _pool(self._credentials, tls)
            return self._pool


def _pool(credentials: Credentials, tls: ssl.SSLContext) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "maxsize": _CONNECTIONS,
        "ssl_context": tls,
        "socket_options": _NOTICE_DEAD_PEERS,
    }
    if credentials.server_name:
        options["server_hostname"] = credentials.server_name
    if credentials.proxy:
        return urllib3.ProxyManager(credentials.proxy, **options)
    return urllib3.PoolManager(**options)


def _status_object(content: bytes) -> Mapping[str, Any]:
    """The `Status` of a refusal; empty when a proxy in between answered in words of its own."""
    parsed = _parsed(content)
    return parsed if isinstance(parsed, dict) else {}


def _parsed(content: bytes) -> Any:
    """None where it isn't JSON, or too deep to be anybody's object."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def cause(error: urllib3.exceptions.HTTPError) -> str:
    """The innermost reason, in the words of the system or of OpenSSL."""
    root = root_cause(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        return root.verify_message.rstrip(".")
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return "no answer in time" if isinstance(error, urllib3.exceptions.TimeoutError) else str(root)


def root_cause(error: urllib3.exceptions.HTTPError) -> BaseException:
    """What urllib3 has wrapped."""
    return error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error.__cause__ or error


def _network_remedy(error: urllib3.exceptions.HTTPError) -> str:
    root = root_cause(error)
    if isinstance(root, ssl.SSLCertVerificationError) and root.verify_code in _WRONG_DATES:
        return "is this machine's clock right, and the server's certificate in date?"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "the kubeconfig's certificate-authority, tls-server-name or client certificate doesn't fit this server"
    return "is the server running, and its address right and reachable from here?"
