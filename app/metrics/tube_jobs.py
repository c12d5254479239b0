"""`tube-<tube>`: the metric of most autoscalers, so it reads one tube per server and nothing else."""

from collections.abc import Sequence

from app.beanstalkd.protocol import InvalidFieldError
from app.beanstalkd.reading import Snapshot
from app.clock import MONOTONIC
from app.metrics.built_in import TUBE_JOBS, TUBE_PREFIX
from app.metrics.freshness import fresh_servers, invalid
from app.metrics.metric import Definition, Metric
from app.metrics.query import AmbiguousMetricError, EvaluationContext, MetricQuery, MetricValue, WantedTubes
from app.metrics.rules import Glob
from app.metrics.selection import PAUSED, Scope, select, selected_pauses
from app.metrics.selector import problems_of_value
from app.quantity import format_quantity


class TubeJobsMetric(Metric):
    """Ready and reserved jobs of one tube, over all servers."""

    def __init__(self, query: MetricQuery, context: EvaluationContext, tube: str, *, readable: bool = True) -> None:
        """`readable`: False if no tube of this exact name can be accessed, so that it needn't be read."""
        super().__init__(query, context)
        self.tube = tube
        self._readable = readable
        self._labels = {"tube": tube}
        """Without `paused`, which values have only if the selector uses it."""

    def values(self) -> Sequence[MetricValue]:
        """Return the sum, or by the label `paused` its parts.

        Raises UnknownMetricError, StaleReadingError, InvalidReadingError, SameServerError.
        """
        return tuple(value for value, _ in self._results())

    def wanted(self) -> WantedTubes:
        """Return the tube."""
        return WantedTubes((self.tube,) if self._readable else ())

    @property
    def definition(self) -> Definition:
        meaning = "Jobs ready and reserved in the tube, over all servers."
        return Definition(self.query.metric, meaning, Glob((self.tube,)), "ready + reserved", ("tube",), unit="jobs")

    @property
    def scope(self) -> Scope:
        """All servers and the tube. Raises UnknownMetricError."""
        tubes = Glob((self.tube,))
        if self.query.selector.matches(self._labels):
            return Scope(self.servers, tubes, (self.tube,))
        return select(self.query.metric, self.query.selector, self.servers, tubes, {"tube", PAUSED})

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:
        """Return the values and the two terms of each. Raises the same."""
        results = self._results()
        return [value for value, _ in results], [arithmetic for _, arithmetic in results[:shown]]

    def _results(self) -> Sequence[tuple[MetricValue, str]]:
        metric, selector = self.query.metric, self.query.selector
        by_pause = [{**self._labels, PAUSED: paused} for paused in selected_pauses(metric, selector) or ()]
        matching = [labels for labels in by_pause or [self._labels] if selector.matches(labels)]
        if not matching:
            return ()
        tube, ready, held_back, reserved, answers = self.tube, 0, 0, 0, []
        for server in fresh_servers(self.context.snapshot.servers, (tube,), self.context):
            reading = server.reading
            stats = reading.tubes.get(tube)
            if stats:
                try:
                    ready += stats.current_jobs_ready
                    held_back += stats.current_jobs_ready if by_pause and stats.is_paused else 0
                    reserved += stats.current_jobs_reserved
                except InvalidFieldError as error:
                    raise invalid(error, [server]) from error
            answers.append(stats.answered_at if stats else reading.answered_at(tube))
        oldest = min(answers, key=MONOTONIC) if len(answers) > 1 else answers[0]
        terms = {None: (ready, reserved), "false": (ready - held_back, reserved), "true": (held_back, 0)}
        results = []
        for labels in matching:
            jobs = terms[labels.get(PAUSED)]
            value = MetricValue(metric, labels, format_quantity(sum(jobs)), oldest)
            results.append((value, f"{jobs[0]} + {jobs[1]}"))
        return results


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
