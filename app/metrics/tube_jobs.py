"""`tube-<tube>`: the metric of most autoscalers, so it reads one tube per server and nothing else."""

from collections.abc import Mapping, Sequence

from app.beanstalkd.reading import Snapshot
from app.clock import MONOTONIC
from app.metrics.built_in import TUBE_JOBS, TUBE_PREFIX
from app.metrics.freshness import fresh_servers
from app.metrics.metric import Definition, Metric
from app.metrics.query import AmbiguousMetricError, EvaluationContext, MetricQuery, MetricValue, WantedTubes
from app.metrics.rules import Glob
from app.metrics.selection import Scope, select
from app.metrics.selector import problems_of_value
from app.quantity import format_quantity


class TubeJobsMetric(Metric):
    """Ready and reserved jobs of one tube, over all servers."""

    def __init__(self, query: MetricQuery, context: EvaluationContext, tube: str, *, readable: bool = True) -> None:
        """`readable`: False if no tube of this exact name can be accessed, so that it needn't be read."""
        super().__init__(query, context)
        self.tube = tube
        self._readable = readable
        self._labels: Mapping[str, str] = {"tube": tube}

    def values(self) -> Sequence[MetricValue]:
        """Return the sum. Raises StaleReadingError, SameServerError."""
        return self._value_and_jobs()[0]

    def wanted(self) -> WantedTubes:
        """Return the tube."""
        return WantedTubes((self.tube,) if self._readable else ())

    @property
    def definition(self) -> Definition:
        """The description of the metric for people."""
        meaning = "Jobs ready and reserved in the tube, over all servers."
        return Definition(self.query.metric, meaning, Glob((self.tube,)), "ready + reserved", ("tube",), unit="jobs")

    @property
    def scope(self) -> Scope:
        """All servers and the tube. Raises UnknownMetricError."""
        tubes = Glob((self.tube,))
        if self.query.selector.matches(self._labels):
            return Scope(self.servers, tubes, (self.tube,))
        return select(self.query.metric, self.query.selector, self.servers, tubes, self._labels)

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:
        """Return the sum and its two terms. Raises StaleReadingError, SameServerError."""
        values, ready, reserved = self._value_and_jobs()
        return values, [f"{ready} + {reserved}"][: min(shown, len(values))]

    def _value_and_jobs(self) -> tuple[Sequence[MetricValue], int, int]:
        tube, ready, reserved = self.tube, 0, 0
        if not self.query.selector.matches(self._labels):
            return (), 0, 0
        answers = []
        for server in fresh_servers(self.context.snapshot.servers, (tube,), self.context):
            reading = server.reading
            stats = reading.tubes.get(tube)
            if stats:
                ready += stats.current_jobs_ready
                reserved += stats.current_jobs_reserved
            answers.append(stats.answered_at if stats else reading.answered_at(tube))
        oldest = min(answers, key=MONOTONIC) if len(answers) > 1 else answers[0]
        value = MetricValue(self.query.metric, self._labels, format_quantity(ready + reserved), oldest)
        return (value,), ready, reserved


def find_tube(metric: str, snapshot: Snapshot) -> str | None:
    """Return the existing tube of a metric `tube-…`, upper and lower case ignored, or None.

    Raises AmbiguousMetricError.
    """
    name = metric[len(TUBE_PREFIX) :]
    lower = name.lower()
    found: set[str] = set()
    for state in snapshot.servers:
        reading = state.reading
        if reading is not None:
            if reading.cased:
                found.update(reading.cased.get(lower, ()))
            if lower in reading.tubes:
                found.add(lower)
    if len(found) > 1:
        if name != lower and name in found:
            return name
        names = " and ".join(repr(tube) for tube in sorted(found))
        advice = (
            "define a rule for each under metrics:, because such names aren't valid label values either"
            if any(map(problems_of_value, found))
            else f"use {TUBE_JOBS} with matchLabels {{tube: …}}"
        )
        raise AmbiguousMetricError(
            f"metric {metric} is ambiguous: it matches tubes {names}, because Kubernetes lowercases metric names;"
            f" {advice}"
        )
    return found.pop() if found else None
