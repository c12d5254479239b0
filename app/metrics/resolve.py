"""From a query to its metric: `resolve` decides the kind once. Which metrics there are, for discovery and for typos."""

import re
from bisect import bisect_left
from difflib import get_close_matches
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter

from app.beanstalkd.protocol import is_tube_name
from app.beanstalkd.reading import Snapshot
from app.metrics.built_in import DRAIN, NAMES, PER_TUBE, TUBE_JOBS, TUBE_PREFIX
from app.metrics.fields import NEXT_JOB_AGE
from app.metrics.longest import LongestMetric
from app.metrics.metric import Metric, UnresolvedMetric
from app.metrics.per_tube import PerTubeMetric
from app.metrics.query import EvaluationContext, MetricError, MetricQuery, UnknownMetricError, WantedTubes
from app.metrics.rule import DrainMetric, OperatorRuleMetric
from app.metrics.rules import Glob, Rules
from app.metrics.selection import named_tubes
from app.metrics.tenancy import access_error, check_access, redacted, visible_snapshot
from app.metrics.tube_jobs import TubeJobsMetric, find_tube

_MAX_LISTED = 50
_PREFIX = re.compile(r"\Atubes?[-_]")
_NEIGHBORS = 25
"""Tubes before and after a misspelled one, by name: comparing with all of 10,000 would take a second."""


def resolve(query: MetricQuery, context: EvaluationContext) -> Metric:
    """Return the metric that a query means, with all it needs to be evaluated.

    An operator's rule that the namespace can query comes first, then `tube-<tube>`, then the built-in metrics. A query
    that means none of them, or a tube that the namespace can't access, returns a metric whose values are that error.
    """
    name, namespace, rules = query.metric.lower(), query.namespace, context.rules
    rule = rules.rule_for(namespace, name) if rules.metrics else None
    if rule is not None:
        if rules.tenancy:  # the rule itself says which namespaces see its tubes
            context = context._replace(snapshot=redacted(context.snapshot))
        return OperatorRuleMetric(query, context, rule)
    visible = rules.visible_tubes_of(namespace)
    if visible is not None:
        context = context._replace(snapshot=visible_snapshot(context.snapshot, visible))
    try:
        if name.startswith(TUBE_PREFIX) and is_tube_name(name[len(TUBE_PREFIX) :]):
            return _tube_jobs(query, context, visible)
        if name not in PER_TUBE and name != DRAIN.name:
            raise _unknown(query, context)
        if visible is not None:
            check_access(namespace, named_tubes(query.selector), visible)
        if name == DRAIN.name:
            return LongestMetric(DrainMetric(query, context, DRAIN), "longest")
        metric = PerTubeMetric(query, context, PER_TUBE[name])
        return LongestMetric(metric, "oldest") if NEXT_JOB_AGE in metric.measured.fields else metric
    except MetricError as error:
        return UnresolvedMetric(query, context, error)


def is_served(query: MetricQuery, rules: Rules) -> bool:
    """Return whether there is a metric of this name for the namespace; much faster than `resolve` if there is none."""
    name = query.metric.lower()
    if name in PER_TUBE or name == DRAIN.name or rules.rule_for(query.namespace, name) is not None:
        return True
    return name.startswith(TUBE_PREFIX) and is_tube_name(name[len(TUBE_PREFIX) :])


def wanted_by_rules(rules: Rules) -> WantedTubes:
    """Return the tubes that rules name exactly: they are read every second, even if no query needs them."""
    tubes = dict.fromkeys(chain.from_iterable(rule.tubes.exact for rule in rules.metrics.values()))
    with_age = [rule for rule in rules.metrics.values() if NEXT_JOB_AGE in rule.formula.fields]
    return WantedTubes(tuple(tubes), tuple(dict.fromkeys(chain.from_iterable(rule.tubes.exact for rule in with_age))))


def metric_names(snapshot: Snapshot, rules: Rules, *, tubes: bool = True) -> list[str]:
    """Return what discovery lists: built-in metrics, public rules, and if `tubes` and without tenancy the first tubes.

    Discovery has no namespace, so it lists only what every namespace can query.
    """
    public = sorted(rule.name for rule in rules.metrics.values() if rule.is_public)
    shown = tubes and not rules.tenancy
    readings = [state.reading for state in snapshot.servers if state.reading and shown]
    there = map(itemgetter(0), groupby(merge(*(reading.names for reading in readings))))
    listed = islice((TUBE_PREFIX + tube for tube in there if tube == tube.lower() and "/" not in tube), _MAX_LISTED)
    return list(dict.fromkeys([*NAMES, *public, *listed]))


def _tube_jobs(query: MetricQuery, context: EvaluationContext, visible: Glob | None) -> Metric:
    """Raises UnknownMetricError, AmbiguousMetricError."""
    asked = query.metric[len(TUBE_PREFIX) :]
    if visible is None:
        return TubeJobsMetric(query, context, find_tube(query.metric, context.snapshot) or asked)
    if not visible.matches_in_any_case(asked):
        raise access_error(query.namespace, asked, visible)
    tube = find_tube(query.metric, context.snapshot)
    if tube is None:
        # No visible tube has this name yet. HPAs ask in lower case: unless the name itself is granted, take the granted
        # exact name that differs only in case.
        spellings = () if visible.matches(asked) else visible.exact
        tube = next((granted for granted in spellings if granted.lower() == asked.lower()), asked)
    return TubeJobsMetric(query, context, tube, readable=visible.matches(tube))


def _unknown(query: MetricQuery, context: EvaluationContext) -> UnknownMetricError:
    """Return the error for a name that no metric has, with similar names that the namespace can query."""
    rules = [name for name in context.rules.metrics if context.rules.rule_for(query.namespace, name)]
    name, tubes = query.metric.lower(), []
    likely = _PREFIX.sub("", name)
    for state in context.snapshot.servers:
        if state.reading:
            there = state.reading.names
            at = bisect_left(there, likely)
            tubes += [*there[max(0, at - _NEIGHBORS) : at + _NEIGHBORS], *there[:_NEIGHBORS]]
    names = dict.fromkeys([*NAMES, *rules, *(TUBE_PREFIX + tube.lower() for tube in tubes if "/" not in tube)])
    near = get_close_matches(name, names, n=3)
    advice = (
        f"did you mean {' or '.join(near)}?" if near else f"there is {TUBE_JOBS}, and {TUBE_PREFIX}NAME for each tube"
    )
    return UnknownMetricError(f"there is no metric {query.metric}; {advice}", tuple(near))
