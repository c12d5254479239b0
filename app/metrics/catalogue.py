"""Which metrics there are: for discovery, which tells everybody the same, and for whoever misspelt one."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter

from app.metrics.built_in import NAMES, TUBE_JOBS, TUBE_PREFIX
from app.metrics.outcome import UnknownMetricError
from app.metrics.question import Evaluation, Question
from app.metrics.rule import Glob, Rules
from app.metrics.tenancy import sight
from app.tubes.snapshot import Reading, Snapshot

_MOST_TUBES = 50
_PREFIX = re.compile(r"\Atubes?[-_]")
_NEIGHBOURS = 25
"""Tubes before and after a misspelt one, by name: all of ten thousand would take a second to compare."""


def metric_names(snapshot: Snapshot, rules: Rules) -> list[str]:
    """What discovery lists: built-in metrics, rules that are everybody's, and the first tubes, unless some are hidden.

    Discovery has no namespace: what isn't for all of them stays out of it.
    """
    public = sorted(rule.name for rule in rules.metrics.values() if rule.is_for_all)
    tubes = () if rules.tenancy else islice(_metrics_of_tubes(snapshot), _MOST_TUBES)
    return list(dict.fromkeys([*NAMES, *public, *tubes]))


def unknown(question: Question, given: Evaluation) -> UnknownMetricError:
    """What is said of a name that no metric has, with the near ones of those that the namespace may ask for."""
    seen = sight(question, given)
    rules = [rule.name for rule in given.rules.metrics.values() if rule.is_for(question.namespace)]
    names = dict.fromkeys([*NAMES, *rules, *_tubes_near(question.metric, given.snapshot, seen)])
    near = get_close_matches(question.metric.lower(), names, n=3)
    advice = (
        f"did you mean {' or '.join(near)}?" if near else f"there is {TUBE_JOBS}, and {TUBE_PREFIX}NAME for each tube"
    )
    return UnknownMetricError(f"there is no metric {question.metric}; {advice}", tuple(near))


def _metrics_of_tubes(snapshot: Snapshot) -> Iterator[str]:
    """Sorted, of tubes that can stand in a resource's name."""
    tubes = map(itemgetter(0), groupby(merge(*(reading.names for reading in _readings(snapshot)))))
    return (TUBE_PREFIX + tube for tube in tubes if tube == tube.lower() and "/" not in tube)


def _tubes_near(metric: str, snapshot: Snapshot, seen: Glob | None) -> Iterator[str]:
    likely = _PREFIX.sub("", metric.lower())
    for reading in _readings(snapshot):
        at = bisect_left(reading.names, likely)
        near = reading.names[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
        first = reading.names[:_NEIGHBOURS]
        for tube in chain(near, first):
            if seen is None or seen.matches(tube):
                yield TUBE_PREFIX + tube.lower()


def _readings(snapshot: Snapshot) -> Iterable[Reading]:
    return (state.reading for state in snapshot.servers if state.reading)
