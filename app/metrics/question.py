"""A question, and what every answer is computed from."""

from dataclasses import dataclass

from app.clock import Instant
from app.metrics.rule import Glob, Rules
from app.metrics.selector import EVERYTHING, Selector
from app.tubes.snapshot import Snapshot

_NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks for."""

    metric: str
    """In any case: client-go asks in lower case whatever the HPA's author wrote."""
    namespace: str
    """Whose autoscaler asks."""
    selector: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is known, and what it is judged by."""

    snapshot: Snapshot
    now: Instant
    max_age_s: float
    """Seconds: an older reading is none."""
    rules: Rules = _NO_RULES
    hold_s: float = 0.0
    """Seconds beyond `max_age_s` for which a rule lets the last good reading count."""

    tellable: Glob | None = None
    """The tubes that an error may name; None: all."""

    @property
    def limit_s(self) -> float:
        """Seconds that a reading may be old."""
        return self.max_age_s + self.hold_s

    def told(self, tube: str) -> str:
        """A tube as errors name it."""
        return f"tube {tube!r}" if self.tellable is None or self.tellable.matches(tube) else "a tube"
