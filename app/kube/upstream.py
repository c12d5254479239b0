"""The adapter that had the external metrics before, and still has those that aren't ours: asked as ourselves.

Any server of external.metrics.k8s.io will do. It gets our token, so it is verified first, by a CA of its own and its
name, and a redirect is never followed. Blocking and safe to share between threads, like client.py.

What an external metrics server may answer: read, and refused where it is anything else.

Everything is made anew from the fields that Kubernetes' types have, so that nothing else is ever passed on. Sources:
k8s.io/metrics/pkg/apis/external_metrics/v1beta1/types.go; k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

import json
import re
import ssl
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from time import monotonic
from typing import Any
from urllib.parse import quote

import urllib3

from app.kube.client import cause, root_cause
from app.kube.errors import KubernetesError, UpstreamError, UpstreamStatusError

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
MOST_NAMES = 500
"""Metrics that are listed: each burdens every client and controller of the cluster."""
MOST_MESSAGE = 4096
"""Characters of a refusal."""
_LONGEST_WAIT_S = 3600

_QUANTITY = re.compile(
    r"(?=.{1,64}\Z)[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?", re.ASCII
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([a-z0-9._:-]{0,251}[a-z0-9])?")
"""What discovery can list: client-go asks in lower case, and a slash would be a subresource's."""
_REASON = re.compile(r"[A-Za-z]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

Object = Mapping[str, Any]


def read_values(content: bytes) -> Object:
    """An `ExternalMetricValueList`, with `kind`, `apiVersion`, `metadata` and `items`. Raises UpstreamError."""
    listed = _object(content, "ExternalMetricValueList", "apiVersion")
    items = _list(listed, "items")
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": _metadata(listed.get("metadata")),
        "items": [_item(item) for item in items],
    }


def read_names(content: bytes) -> tuple[str, ...]:
    """The metrics of an `APIResourceList`, sorted, those that discovery can list. Raises UpstreamError."""
    resources = _list(_object(content, "APIResourceList", "groupVersion"), "resources")
    names = {resource.get("name") for resource in resources if isinstance(resource, dict)}
    fit = sorted(name for name in names if isinstance(name, str) and _NAME.fullmatch(name))
    return tuple(fit[:MOST_NAMES])


def read_refusal(code: int, content: bytes) -> UpstreamError:
    """What came with an HTTP status of 400 or more: an UpstreamStatusError where it is a `Status`."""
    status = _parsed(content)
    if not (isinstance(status, dict) and status.get("kind") == "Status" and isinstance(status.get("message"), str)):
        return UpstreamError(f"answered {code} without saying why; its log may tell")
    message = _CONTROL.sub(" ", status["message"])[:MOST_MESSAGE].strip() or "no reason given"
    reason, details = status.get("reason"), status.get("details")
    return UpstreamStatusError(
        code,
        reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "",
        message,
        _wait_s(details.get("retryAfterSeconds")) if isinstance(details, dict) else 0,
    )


def _wait_s(told: Any) -> int:
    return told if type(told) is int and 0 < told <= _LONGEST_WAIT_S else 0


def _object(content: bytes, kind: str, version_field: str) -> Object:
    parsed = _parsed(content)
    if not isinstance(parsed, dict):
        raise _wrong("that isn't a JSON object")
    if (parsed.get("kind"), parsed.get(version_field)) != (kind, GROUP_VERSION):
        raise _wrong(f"of kind {str(parsed.get('kind'))[:64]!r} ({str(parsed.get(version_field))[:64]!r}), not {kind}")
    return parsed


def _list(parsed: Object, field: str) -> list[Any]:
    """Go writes null for one that is empty."""
    told = parsed.get(field)
    if told is not None and not isinstance(told, list):
        raise _wrong(f"whose {field} are no list")
    return told or []


def _parsed(content: bytes) -> Any:
    """None where it isn't JSON, or too deep to be anybody's object."""
    try:
        return json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity, which are Python's alone


def _metadata(told: Any) -> Object:
    """A list's: where to go on, and how much is left."""
    if not isinstance(told, dict):
        return {}
    texts = {key: told[key] for key in ("resourceVersion", "continue") if isinstance(told.get(key), str)}
    left = told.get("remainingItemCount")
    return texts | ({"remainingItemCount": left} if type(left) is int else {})


def _item(told: Any) -> Object:
    match told:
        case {"metricName": str(name), "value": str(value)} if _QUANTITY.fullmatch(value):
            labels, time = told.get("metricLabels"), told.get("timestamp")
            if _are_labels(labels) and (time is None or (isinstance(time, str) and _TIME.fullmatch(time))):
                described = {"metricName": name, "metricLabels": labels or {}, "timestamp": time}
                return {**described, **_window(told), "value": value}
    raise _wrong("with an item that isn't an ExternalMetricValue")


def _are_labels(told: Any) -> bool:
    return told is None or (isinstance(told, dict) and all(isinstance(value, str) for value in told.values()))


def _window(item: Object) -> Object:
    seconds = item.get("window")
    if seconds is None:
        return {}
    if type(seconds) is not int:
        raise _wrong("with an item whose window isn't a number of seconds")
    return {"window": seconds}


def _wrong(what: str) -> UpstreamError:
    return UpstreamError(f"answered with something {what}; is it an external metrics server?")


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


class UpstreamAdapter:
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
        UpstreamError.
        """
        path = f"{_ROOT}/namespaces/{_segment(namespace)}/{_segment(metric)}"
        return self._get(f"{path}?{query}" if query else path, until)

    def metrics(self, until: float) -> tuple[str, ...]:
        """The names that its discovery lists, as far as ours can. Raises UpstreamError."""
        return read_names(self._get(_ROOT, until))

    def _get(self, target: str, until: float) -> bytes:
        try:
            authorization, pool = self._authorization(), self._current()
        except KubernetesError as error:
            raise UpstreamError(f"can't be asked: {error}") from error
        if authorization is None:
            raise UpstreamError(
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

    def _unreachable(self, error: urllib3.exceptions.HTTPError) -> UpstreamError:
        root = root_cause(error)
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return UpstreamError(_TOO_LATE)
        if isinstance(root, IncompleteRead):
            return UpstreamError("hung up in the middle of its answer; its log may tell why")
        remedy = f"is it running, and reachable at {self._address.host} port {self._address.port} from here?"
        if isinstance(root, ssl.SSLError):
            remedy = f"its certificate must be for {self._address.host}, and the CA given must vouch for it"
        return UpstreamError(f"can't be asked: {cause(error).rstrip('.')}; {remedy}")


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
            raise UpstreamError(f"answered with more than {MOST_BYTES >> 20} MiB; a selector makes the answer shorter")
        left_s(until)
    return bytes(body)


def left_s(until: float) -> float:
    """Seconds that are left. Raises UpstreamError where none are."""
    left = until - monotonic()
    if left <= 0:
        raise UpstreamError(_TOO_LATE)
    return left


def _not_given(status: int, content: bytes, authorization: str) -> UpstreamError:
    if 300 <= status < 400:
        return UpstreamError(f"answered {status}, a redirect, and our token goes nowhere else")
    if status < 400:
        return UpstreamError(f"answered {status} instead of 200; is it an external metrics server?")
    refusal = read_refusal(status, content)
    if status in _REMEDIES:
        return UpstreamError(f"{refusal}; {_REMEDIES[status].format(_account(authorization))}")
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
