"""The server's explanation of a metric (`?explain=true`) as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.quantity import MOST, milli, parse_quantity

type Json = Mapping[str, Any]

KIND = "MetricExplanation"
VALUES = "ExternalMetricValueList"


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What the metric counts."""

    name: str
    built_in: bool
    meaning: str
    tubes: tuple[str, ...]
    """Patterns."""
    formula: str
    on_failure: str
    max_age_s: float | None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One beanstalkd that the metric spans."""

    name: str
    address: str
    member: str | None
    fresh: bool
    age_s: float | None
    """Since its last good reading; None: there was none."""
    failure: str | None
    failing_for_s: float | None

    def __str__(self) -> str:
        """`eu`, or `eu (10.0.0.3)` where one name has several addresses."""
        return f"{self.name} ({self.member})" if self.member else self.name


@dataclass(frozen=True, slots=True)
class TubeInfo:
    """One tube on one server."""

    server: str
    name: str
    exists: bool
    age_s: float | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    paused: bool = False
    pause_left_s: float | None = None

    def count(self, name: str) -> int | None:
        """A field's whole number; None where the server didn't summarize it."""
        value = self.fields.get(name)
        return int(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True, slots=True)
class Item:
    """One value of the answer that an autoscaler gets."""

    labels: Mapping[str, str]
    arithmetic: str
    value: int
    """Thousandths."""
    window_s: float | None
    held_for_s: float | None


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why there is no value."""

    reason: str
    message: str
    near: tuple[str, ...]
    """Names that it may have meant."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of it."""

    metric: str
    namespace: str
    selector: str
    rule: RuleInfo | None
    servers: tuple[ServerInfo, ...]
    tubes: tuple[TubeInfo, ...]
    tubes_omitted: int
    items: tuple[Item, ...]
    error: ErrorInfo | None
    source: Json = field(repr=False)
    """As the server gave it."""

    @property
    def total(self) -> int | None:
        """What an autoscaler adds up, in thousandths; None where it gets an error or nothing."""
        if self.error is not None or not self.items:
            return None
        return min(sum(item.value for item in self.items), MOST)

    @property
    def why_not(self) -> str:
        """Why there is no total: a clause."""
        return self.error.message if self.error else "the answer has no value in it"


def read_explanation(document: Json) -> Explanation:
    """Raises QuantityError where a value isn't a number."""
    return Explanation(
        metric=document["metric"],
        namespace=document["namespace"],
        selector=document.get("selector") or "",
        rule=_rule(document.get("rule")),
        servers=tuple(map(_server, document.get("servers") or ())),
        tubes=tuple(map(_tube, document.get("tubes") or ())),
        tubes_omitted=document.get("tubesOmitted") or 0,
        items=tuple(map(_item, document.get("items") or ())),
        error=_trouble(document.get("error")),
        source=document,
    )


def total_of_values(document: Json) -> int | None:
    """What an autoscaler adds up of an ExternalMetricValueList, in thousandths; None where it is empty."""
    values = [milli(parse_quantity(str(item["value"]))) for item in document.get("items") or ()]
    return min(sum(values), MOST) if values else None


def _rule(rule: Json | None) -> RuleInfo | None:
    if rule is None:
        return None
    return RuleInfo(
        name=rule["name"],
        built_in=bool(rule.get("builtIn")),
        meaning=rule.get("meaning") or "",
        tubes=tuple(rule.get("tubes") or ()),
        formula=rule.get("formula") or "",
        on_failure=rule.get("onFailure") or "fail",
        max_age_s=rule.get("maxAgeSeconds"),
    )


def _server(server: Json) -> ServerInfo:
    return ServerInfo(
        name=server["name"],
        address=server.get("address") or "",
        member=server.get("member"),
        fresh=bool(server.get("fresh")),
        age_s=server.get("ageSeconds"),
        failure=server.get("failure"),
        failing_for_s=server.get("failingForSeconds"),
    )


def _tube(tube: Json) -> TubeInfo:
    return TubeInfo(
        server=tube["server"],
        name=tube["tube"],
        exists=bool(tube.get("exists")),
        age_s=tube.get("ageSeconds"),
        fields=tube.get("fields") or {},
        paused=bool(tube.get("paused")),
        pause_left_s=tube.get("pauseSecondsLeft"),
    )


def _item(item: Json) -> Item:
    return Item(
        labels=item.get("labels") or {},
        arithmetic=item.get("arithmetic") or "",
        value=milli(parse_quantity(str(item["value"]))),
        window_s=item.get("window"),
        held_for_s=item.get("heldForSeconds"),
    )


def _trouble(error: Json | None) -> ErrorInfo | None:
    if error is None:
        return None
    return ErrorInfo(error.get("reason") or "", error.get("message") or "", tuple(error.get("near") or ()))
