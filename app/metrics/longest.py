"""The built-in metrics of time: one value, the longest of what the query selects, because an HPA adds values up."""

import sys
from collections.abc import Sequence

from app.clock import MONOTONIC
from app.metrics.metric import Definition, Metric
from app.metrics.query import MetricValue, WantedTubes
from app.metrics.selection import Scope
from app.quantity import parse_quantity


class LongestMetric(Metric):
    """The greatest value of another metric, with that value's labels."""

    def __init__(self, every: Metric, which: str) -> None:
        """`every`: the metric with a value per tube. `which`: "oldest" or "longest", in the arithmetic."""
        super().__init__(every.query, every.context)
        self._every = every
        self._which = which

    def values(self) -> Sequence[MetricValue]:
        """Return the greatest value, as old as the oldest reply that it rests on; none if there is none."""
        values, _ = self._greatest(self._every.values())
        return values

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:  # noqa: ARG002 - shows one
        """Return the same, and its arithmetic: "oldest of 3 (server=eu,tube=mail): 12"."""
        every, arithmetic = self._every.calculations(sys.maxsize)
        values, position = self._greatest(every)
        if len(every) <= 1:
            return values, arithmetic
        labels = ",".join(f"{key}={value}" for key, value in sorted(values[0].labels.items()))
        return values, [f"{self._which} of {len(every):,} ({labels}): {arithmetic[position]}"]

    def wanted(self) -> WantedTubes:
        """Return the tubes of all values."""
        return self._every.wanted()

    @property
    def definition(self) -> Definition | None:
        return self._every.definition

    @property
    def scope(self) -> Scope:
        """The servers and tubes of all values. Raises MetricError."""
        return self._every.scope

    @staticmethod
    def _greatest(every: Sequence[MetricValue]) -> tuple[Sequence[MetricValue], int]:
        if not every:
            return (), 0
        position = max(range(len(every)), key=lambda each: parse_quantity(every[each].quantity))
        oldest = min((value.answered_at for value in every), key=MONOTONIC)
        return (every[position]._replace(answered_at=oldest),), position
