"""What an autoscaler's way from a metric to a number of pods is told in."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The parts of the way, in their order."""

    SWITCHED_OFF = "switched off"
    """The workload was scaled to 0 by somebody else."""
    BOUNDS = "bounds"
    """The pods that there are, are more than maxReplicas or fewer than minReplicas: no metric is asked."""
    FORMULA = "formula"
    TOLERANCE = "tolerance"
    HIGHEST = "highest"
    """Of several metrics' wishes."""
    ERROR = "error"
    """A metric without value."""
    STABILISATION = "stabilisation"
    POLICY = "policy"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the way."""

    stage: Stage
    before: int
    """Pods."""
    after: int
    sentence: str
    metric: str = ""
    """Whose, in formula, tolerance and error."""


def pods(number: int) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} pod{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`45 s`, `5 min`, `1 min 30 s`, `2 h`, `3 h 20 min`: two units at most."""
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    shown = [(number, unit) for number, unit in parts if number]
    first = parts.index(shown[0]) if shown else 3
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
