"""What a rule spans for one question: servers, tubes, and the groups that become its items.

The names that fit a pattern, kept for as long as the names are the very same: most sweeps find no tube new.

What a selector leaves of servers, tubes and other labels' values, or why it can leave nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from threading import Lock
from typing import NamedTuple

from app.beanstalkd.protocol import is_tube_name
from app.beanstalkd.reading import Reading, ServerState
from app.metrics.freshness import ReadServer, fresh_servers
from app.metrics.metric import Evaluation, Question, StaleReadingError, TooManyTubesError, UnknownMetricError
from app.metrics.rules import Glob, Label, Rule
from app.metrics.selector import Selector
from app.metrics.tenancy import check_seen, check_sees_any, patterns_seen, sight

MOST_KEPT = 512
"""Patterns times servers; at 10,000 tubes a server each takes up to 80 kB."""

_Whose = tuple[str, tuple[str, ...]]


class Matches:
    """Remembers; may be asked by several threads at once."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[_Whose, tuple[tuple[str, ...], Sequence[str]]] = {}
        self._lock = Lock()

    def of(self, glob: Glob, state: ServerState, reading: Reading) -> Sequence[str]:
        """The reading's tubes that fit, sorted."""
        whose = (state.server.name, glob.patterns)
        names, found = self._kept.get(whose, ((), ()))
        if names is not reading.names:
            found = tuple(glob.of(reading.names))
            found = reading.names if len(found) == len(reading.names) else found
            self._keep(whose, reading.names, found)
        return found

    def _keep(self, whose: _Whose, names: tuple[str, ...], found: Sequence[str]) -> None:
        with self._lock:
            self._kept.pop(whose, None)
            self._kept[whose] = names, found
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]


matches = Matches()


MOST_NAMED = 1000
"""Tubes that one selector may name: those that don't exist are answered too, so there is no other end to them."""


def check_labels(metric: str, selector: Selector, labels: Collection[str]) -> None:
    """Raises UnknownMetricError for a demand that nothing can meet; an empty answer wouldn't say why."""
    unknown = {part.key for part in selector.requirements if not part.matches({})}.difference(labels)
    if unknown:
        names = ", ".join(map(repr, sorted(unknown)))
        has = ", ".join(map(repr, sorted(labels))) or "none"
        raise UnknownMetricError(f"{metric} has no label {names}; it has {has}")


def left_in(metric: str, selector: Selector, states: Sequence[ServerState]) -> Sequence[ServerState]:
    """The servers that the selector leaves in; only they must be fresh. Raises UnknownMetricError."""
    if any(part.key == "server" for part in selector.requirements):
        check_value(metric, selector, "server", [state.server.name for state in states])
        states = [state for state in states if may_be(selector, "server", {"server": state.server.name})]
    return states


def check_value(metric: str, selector: Selector, key: str, known: Iterable[str]) -> None:
    """Raises UnknownMetricError where only unknown values would do."""
    pinned = selector.pinned(key)
    if pinned is not None and pinned.isdisjoint(known):
        demanded = ", ".join(repr(name) for name in sorted(pinned)) or "two values at once"
        there_is = ", ".join(map(repr, dict.fromkeys(known)))
        raise UnknownMetricError(f"{metric} has no {key} {demanded}; there is {there_is}")


def may_be(selector: Selector, key: str, labels: Mapping[str, str]) -> bool:
    """Whether the conditions on this one label hold."""
    return all(part.matches(labels) for part in selector.requirements if part.key == key)


def leaves_tubes(selector: Selector) -> bool:
    """Whether there are tubes that it leaves in, or could be."""
    return not any(part.key == "tube" and part.operator == "!" for part in selector.requirements)


def tubes_named(selector: Selector) -> Sequence[str] | None:
    """The only tubes that it leaves, sorted; None where it doesn't list them. Raises TooManyTubesError."""
    pinned = selector.pinned("tube")
    if pinned is None:
        return None
    if len(pinned) > MOST_NAMED:
        raise TooManyTubesError(
            f"the selector names {len(pinned):,} tubes, and at most {MOST_NAMED:,} are answered at once;"
            " ask several times, or without naming any"
        )
    return sorted(filter(is_tube_name, pinned))


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
        return chain.from_iterable(self._by_tube({"server": part.server.state.server.name}, [part]) for part in parts)

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
    check_labels(rule.name, question.selector, labels_kept(rule))
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


def labels_kept(rule: Rule) -> frozenset[str]:
    """The labels of its items."""
    of_tube = frozenset({"tube"} if Label.TUBE in rule.per else ())
    return of_tube | {"server"} if Label.SERVER in rule.per else of_tube


def _spanned(named: Sequence[str], rule: Rule, seen: Glob | None, question: Question) -> Sequence[str]:
    check_seen(named, seen, question)
    spanned = rule.tubes.of(named)
    if named and not spanned:
        raise UnknownMetricError(
            f"{rule.name} spans no tube {', '.join(map(repr, named))};"
            f" it spans {', '.join(patterns_seen(rule.tubes, seen)) or 'none that may be seen'}"
        )
    return spanned
