"""The cluster's autoscalers that go by external metrics: as last listed, with their last hour. No I/O.

While nobody looks at an autoscaler, its metric's value comes from the console's own readings and the same rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from app.autoscaling.autoscaler import EXTERNAL, Autoscaler, Metric
from app.autoscaling.decision import Decision, decide
from app.autoscaling.quantity import milli, parse_quantity, plain
from app.autoscaling.steps import pods
from app.autoscaling.wish import Elsewhere, Missing, Seen, Total
from app.console.history import ReplicaTrack
from app.console.links import AutoscalerLink, links_of, question_of
from app.explaining.gathering import Gathered
from app.metrics.evaluation import evaluate
from app.metrics.outcome import MetricError, UnknownMetricError
from app.metrics.question import Evaluation
from app.settings import ObjectName

MOST_AUTOSCALERS = 500

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """One autoscaler, by our own readings."""

    autoscaler: Autoscaler
    seen: tuple[Seen, ...]
    """Of each of its metrics."""
    decision: Decision

    @property
    def name(self) -> ObjectName:
        """NAMESPACE/NAME."""
        return ObjectName(self.autoscaler.namespace, self.autoscaler.name)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the cluster found."""

    judged: tuple[Judged, ...]
    links: Sequence[AutoscalerLink]


def look_at(autoscalers: Iterable[Autoscaler], given: Evaluation) -> Look:
    """Judge those that have an external metric; may take a while where metrics span very many tubes."""
    ours = [each for each in autoscalers if first_external(each) is not None][:MOST_AUTOSCALERS]
    return Look(tuple(_judged(each, given) for each in ours), links_of(ours, given))


def _judged(autoscaler: Autoscaler, given: Evaluation) -> Judged:
    seen = tuple(_seen(autoscaler, metric, given) for metric in autoscaler.metrics)
    return Judged(autoscaler, seen, decide(autoscaler, autoscaler.scale, seen, given.now.unix_s))


def _seen(autoscaler: Autoscaler, metric: Metric, given: Evaluation) -> Seen:
    question = question_of(autoscaler, metric)
    if question is None:
        return Elsewhere()
    try:
        return Total(sum(milli(parse_quantity(value.quantity)) for value in evaluate(question, given)))
    except UnknownMetricError:
        return Elsewhere()  # another adapter's, or a rule that this console wasn't given
    except MetricError as error:
        return Missing(str(error))


def first_external(autoscaler: Autoscaler) -> int | None:
    """The position of the metric that charts are about."""
    return next((at for at, metric in enumerate(autoscaler.metrics) if metric.source == EXTERNAL), None)


class Known:
    """All of them."""

    def __init__(self, why: str | None) -> None:
        self.why = why
        """Why they aren't known, or not any more: a sentence."""
        self.look = Look((), ())
        self._tracks: dict[ObjectName, ReplicaTrack] = {}

    def take(self, look: Look, now_s: float, asked: Mapping[ObjectName, Gathered] = MappingProxyType({})) -> None:
        """A new look; who isn't there any more is forgotten. `asked`: what was just gathered of some of them, which is
        nearer to the truth: the metric as served, and the workload's own pods.
        """
        self.look, self.why = look, None
        self._tracks = {each.name: self._tracks.get(each.name) or ReplicaTrack() for each in look.judged}
        for each in look.judged:
            known = asked.get(each.name)
            value, target = _value_and_target(each.autoscaler, known.seen if known else each.seen)
            present = (known.scale if known else each.autoscaler.scale).present
            self._tracks[each.name].add(now_s, value, target, each.autoscaler.desired, present)

    def fail(self, why: str, now_s: float) -> None:
        """The cluster couldn't be asked: what is new isn't known."""
        self.why = why
        for track in self._tracks.values():
            track.add(now_s, None, None, None, None)

    def find(self, name: ObjectName) -> Judged | None:
        """One of them."""
        return next((each for each in self.look.judged if each.name == name), None)

    def series(self, name: ObjectName) -> Json | None:
        """Its last hour as JSON; None where there is no such autoscaler."""
        found = self.find(name)
        if found is None:
            return None
        _, target = _value_and_target(found.autoscaler, found.seen)
        return {
            "namespace": name.namespace,
            "name": name.name,
            **self._tracks[name].series(),
            "target": target,
            "min": found.autoscaler.minimum,
            "max": found.autoscaler.maximum,
        }

    def listed(self, now_s: float) -> Json:
        """All of them as JSON."""
        return {
            "now": round(now_s, 3),
            "available": self.why is None,
            "why": self.why,
            "autoscalers": [_listed(each) for each in self.look.judged],
        }


def _value_and_target(autoscaler: Autoscaler, seen: Sequence[Seen]) -> tuple[float | None, float | None]:
    position = first_external(autoscaler)
    if position is None:
        return None, None
    value, target = seen[position], autoscaler.metrics[position].target.amount / 1000
    return (value.amount / 1000 if isinstance(value, Total) else None), target


def _listed(judged: Judged) -> Json:
    autoscaler = judged.autoscaler
    return {
        "namespace": autoscaler.namespace,
        "name": autoscaler.name,
        "target": str(autoscaler.workload),
        "metrics": [
            {
                "name": metric.name,
                "selector": metric.selector,
                "total": plain(seen.amount) if isinstance(seen, Total) else None,
                "target": {"type": metric.target.kind.value, "amount": plain(metric.target.amount)},
            }
            for metric, seen in zip(autoscaler.metrics, judged.seen, strict=True)
        ],
        "current": autoscaler.scale.present,
        "desired": autoscaler.desired,
        "min": autoscaler.minimum,
        "max": autoscaler.maximum,
        "sentence": _sentence(judged),
    }


def _sentence(judged: Judged) -> str:
    now, decision = judged.autoscaler.scale.wanted, judged.decision
    moves = f"{pods(now)}, and it stays so" if decision.pods == now else f"{pods(now)} now → {decision.pods}"
    return f"{moves}: {decision.decided_by.sentence}"
