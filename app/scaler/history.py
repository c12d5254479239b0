"""The recent increases of a workload's number of pods, which count for the scaling policies. Pure.

The HPA controller counts its own. Here, all count that are seen, whoever made them: beanscale, another replica of it,
the controller or a person. One that was seen late counts from then, so that too few pods are allowed rather than too
many.
"""

from dataclasses import dataclass, replace

from app.clock import Instant
from app.hpa.autoscaler import SYNC_PERIOD_S
from app.hpa.decision import Changes

_MAX_PERIOD_S = 1800.0
"""The longest periodSeconds that Kubernetes accepts."""
LATER_S = SYNC_PERIOD_S + 1.0
"""By this much longer an increase counts: the controller would have made it up to a sync later, and syncs are a little
more than their period apart."""


@dataclass(frozen=True, slots=True)
class History:
    """Immutable."""

    replicas: int
    """Seen last."""
    increases: tuple[tuple[Instant, int], ...] = ()

    @classmethod
    def start(cls, replicas: int, lowest: int, now: Instant) -> "History":
        """Begin without knowing what was before: maybe all above the lowest number was added just now."""
        return cls(replicas, ((now, replicas - lowest),) if replicas > lowest else ())

    def seen(self, replicas: int, now: Instant) -> "History":
        """Return the history with the present number."""
        if replicas == self.replicas:
            return self
        if replicas < self.replicas:
            return replace(self, replicas=replicas)
        kept = tuple(each for each in self.increases if each[0].age_s(now) <= _MAX_PERIOD_S + LATER_S)
        return History(replicas, (*kept, (now, replicas - self.replicas)))

    def changes(self, now: Instant, period_s: float) -> Changes:
        """Return the increases that count for policies of at most this period, with their age as the controller's."""
        ages = ((at.age_s(now) - LATER_S, added) for at, added in self.increases)
        return tuple((ago_s, added) for ago_s, added in ages if ago_s < period_s)
