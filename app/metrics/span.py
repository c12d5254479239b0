"""What a rule spans for one question: servers, tubes, and the groups that become its items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from app.metrics.freshness import ReadServer, fresh_servers
from app.metrics.matches import matches
from app.metrics.narrowing import check_labels, labels_of, left_in, server_labels, tubes_named
from app.metrics.outcome import StaleReadingError, UnknownMetricError
from app.metrics.question import Evaluation, Question
from app.metrics.rule import Glob, Label, Rule
from app.metrics.tenancy import check_seen, check_sees_any, patterns_seen, sight
from app.tubes.snapshot import ServerState


class Part(NamedTuple):
    """Tubes of one server."""

    server: ReadServer
    tubes: Sequence[str]


class Group(NamedTuple):
    """What becomes one item."""

    labels: Mapping[str, str]
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Span:
    """What is left of a rule by a question."""

    rule: Rule
    states: Sequence[ServerState]
    named: Sequence[str] | None
    """The only tubes, exactly; None: those that fit the rule's globs."""
    seen: Glob | None
    """The only tubes that may be told apart; None: all."""

    def tubes_of(self, server: ReadServer) -> Sequence[str]:
        """Those that exist, and those that are named."""
        if self.named is not None:
            return self.named
        found = matches.of(self.rule.tubes, *server)
        missing = [tube for tube in self.rule.tubes.exact if tube not in server.reading.tubes]
        tubes = [*found, *missing] if missing else found
        return tubes if self.seen is None else self.seen.of(tubes)

    def groups(self, given: Evaluation) -> Iterator[Group]:
        """Of fresh readings, sorted. Raises StaleReadingError, SameServerError."""
        parts = [Part(server, self.tubes_of(server)) for server in fresh_servers(self.states, self.named, given)]
        if Label.SERVER not in self.rule.per:
            return self._by_tube({}, parts)
        return chain.from_iterable(self._by_tube(labels_of(part.server.state), [part]) for part in parts)

    def groups_of_none(self, given: Evaluation) -> Iterator[Group]:
        """What is said where no tube is there that fits: without a tube's label, since autoscalers scale in by a 0."""
        rule = replace(self.rule, tubes=Glob(()), per=self.rule.per - {Label.TUBE})
        return replace(self, rule=rule).groups(given)

    def _by_tube(self, labels: Mapping[str, str], parts: Sequence[Part]) -> Iterator[Group]:
        if Label.TUBE not in self.rule.per:
            yield Group(labels, parts)
            return
        for tube in sorted(set(chain.from_iterable(part.tubes for part in parts))):
            yield Group({**labels, "tube": tube}, [Part(part.server, (tube,)) for part in parts])


def span(rule: Rule, question: Question, given: Evaluation) -> Span:
    """Raises MetricError where the question is wrong."""
    states = servers_of(rule, given)
    check_labels(rule.name, question.selector, labels_kept(rule, states))
    if Label.SERVER in rule.per:
        states = left_in(rule.name, question.selector, states)
    if Label.TUBE not in rule.per:
        return Span(rule, states, rule.tubes.exact if rule.tubes.is_exact else None, None)
    seen = sight(question, given) if rule.namespaces is None else None  # whom it names, the rule itself lets see
    named = tubes_named(question.selector)
    if named is not None:
        return Span(rule, states, _spanned(named, rule, seen, question), seen)
    check_sees_any(seen, question)
    if rule.tubes.is_exact:
        named = rule.tubes.exact if seen is None else seen.of(rule.tubes.exact)
    return Span(rule, states, named, seen)


def servers_of(rule: Rule, given: Evaluation) -> Sequence[ServerState]:
    """Raises StaleReadingError where one isn't there at all: what it holds nobody knows."""
    states = given.snapshot.servers
    if rule.servers is None:
        return states
    unknown = rule.servers.difference(state.server.name for state in states)
    if unknown:
        raise StaleReadingError(f"beanscale was told of no beanstalkd {', '.join(map(repr, sorted(unknown)))}")
    return [state for state in states if state.server.name in rule.servers]


def labels_kept(rule: Rule, states: Sequence[ServerState]) -> frozenset[str]:
    """The labels of its items."""
    of_tube = frozenset({"tube"} if Label.TUBE in rule.per else ())
    return of_tube | server_labels(states) if Label.SERVER in rule.per else of_tube


def _spanned(named: Sequence[str], rule: Rule, seen: Glob | None, question: Question) -> Sequence[str]:
    check_seen(named, seen, question)
    spanned = rule.tubes.of(named)
    if named and not spanned:
        raise UnknownMetricError(
            f"{rule.name} spans no tube {', '.join(map(repr, named))};"
            f" it spans {', '.join(patterns_seen(rule.tubes, seen)) or 'none that may be seen'}"
        )
    return spanned
