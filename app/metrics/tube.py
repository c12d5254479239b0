"""`tube-<tube>`: what most autoscalers ask, all the time; so it looks at that one tube and at nothing else."""

from collections.abc import Sequence
from operator import attrgetter

from app.beanstalkd.protocol import is_tube_name
from app.metrics.built_in import TUBE_JOBS, TUBE_PREFIX
from app.metrics.freshness import fresh_servers
from app.metrics.metric import AmbiguousMetricError, Evaluation, MetricValue, Question
from app.metrics.rules import Glob
from app.metrics.selector import problems_of_value
from app.metrics.tenancy import hidden, sight
from app.quantity import format_quantity

_monotonic = attrgetter("monotonic_s")


def names_a_tube(metric: str) -> bool:
    """Whether it is, in lower case, `tube-` and a name that beanstalkd takes."""
    return metric.startswith(TUBE_PREFIX) and is_tube_name(metric[len(TUBE_PREFIX) :])


def jobs_of_tube(question: Question, given: Evaluation) -> tuple[MetricValue, ...]:
    """Jobs ready and reserved over all servers. Raises MetricError."""
    seen = sight(question, given)
    tube = tube_meant(question, given, seen)
    labels = {"tube": tube}
    if not question.selector.matches(labels):
        return ()
    counts = seen is None or seen.matches(tube)  # else it is another one's name in lower case, of which nothing is told
    servers = fresh_servers(given.snapshot.servers, (tube,) if counts else None, given)
    readings = [server.reading for server in servers]
    found = [reading.tubes[tube] for reading in readings if tube in reading.tubes] if counts else []
    jobs = sum(stats.current_jobs_ready + stats.current_jobs_reserved for stats in found)
    answers = [reading.answered_at(tube) if counts else reading.listed_at for reading in readings]
    return (MetricValue(question.metric, labels, format_quantity(jobs), min(answers, key=_monotonic)),)


def tube_meant(question: Question, given: Evaluation, seen: Glob | None) -> str:
    """The tube that `tube-…` means, in any case. Raises AmbiguousMetricError, UnknownMetricError."""
    asked = question.metric[len(TUBE_PREFIX) :]
    if seen is not None and not seen.matches_in_any_case(asked):
        raise hidden(asked, seen, question)
    lower = asked.lower()
    meant: set[str] = set()
    for state in given.snapshot.servers:
        reading = state.reading
        if reading is not None:
            if reading.cased and lower in reading.cased:
                meant.update(reading.cased[lower])
            if lower in reading.tubes:
                meant.add(lower)
    if seen is not None:
        meant = set(seen.of(meant))
    if not meant:
        return _exactly(asked, seen)
    if asked != lower and asked in meant:
        return asked
    return _only(meant, question.metric)


def _exactly(asked: str, seen: Glob | None) -> str:
    """What one is called that isn't there: as it was granted, else as it was asked for."""
    granted: Sequence[str] = seen.exact if seen and not seen.matches(asked) else ()
    return next((tube for tube in granted if tube.lower() == asked.lower()), asked)


def _only(tubes: set[str], metric: str) -> str:
    if len(tubes) > 1:
        names = " and ".join(repr(tube) for tube in sorted(tubes))
        advice = (
            "give each a rule in metrics:, because such names can't stand in a label either"
            if any(map(problems_of_value, tubes))
            else f"name the tube by a label instead: metric {TUBE_JOBS} with matchLabels {{tube: …}}"
        )
        raise AmbiguousMetricError(
            f"metric {metric} may mean the tubes {names}, because Kubernetes asks for metrics in lower case; {advice}"
        )
    return tubes.pop()
