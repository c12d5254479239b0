"""What an external metrics server may answer: read, and refused where it is anything else.

Everything is made anew from the fields that Kubernetes' types have, so that nothing else is ever passed on. Sources:
k8s.io/metrics/pkg/apis/external_metrics/v1beta1/types.go; k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from app.cluster.errors import IncumbentError, IncumbentRefusalError

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
    """An `ExternalMetricValueList`, with `kind`, `apiVersion`, `metadata` and `items`. Raises IncumbentError."""
    listed = _object(content, "ExternalMetricValueList", "apiVersion")
    items = _list(listed, "items")
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": _metadata(listed.get("metadata")),
        "items": [_item(item) for item in items],
    }


def read_names(content: bytes) -> tuple[str, ...]:
    """The metrics of an `APIResourceList`, sorted, those that discovery can list. Raises IncumbentError."""
    resources = _list(_object(content, "APIResourceList", "groupVersion"), "resources")
    names = {resource.get("name") for resource in resources if isinstance(resource, dict)}
    fit = sorted(name for name in names if isinstance(name, str) and _NAME.fullmatch(name))
    return tuple(fit[:MOST_NAMES])


def read_refusal(code: int, content: bytes) -> IncumbentError:
    """What came with an HTTP status of 400 or more: an IncumbentRefusalError where it is a `Status`."""
    status = _parsed(content)
    if not (isinstance(status, dict) and status.get("kind") == "Status" and isinstance(status.get("message"), str)):
        return IncumbentError(f"answered {code} without saying why; its log may tell")
    message = _CONTROL.sub(" ", status["message"])[:MOST_MESSAGE].strip() or "no reason given"
    reason, details = status.get("reason"), status.get("details")
    return IncumbentRefusalError(
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


def _wrong(what: str) -> IncumbentError:
    return IncumbentError(f"answered with something {what}; is it an external metrics server?")
