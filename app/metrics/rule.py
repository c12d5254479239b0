"""What a rule of `metrics:` or `tenancy:` says once it has been read and found right: frozen values, no I/O."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase, translate
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain
from string import ascii_letters, digits
from typing import Protocol

_MAGIC = re.compile(r"[*?\[]")
_ALL_BUT = re.compile(r"\[!\]?[^]]*\]")
_CHARACTERS = f"{ascii_letters}{digits}+/;.$_()-"
"""That names have; the `-` last, as it must be in a set."""
_NOTHING = "(?!)"
_MOST_NAMESPACES = 1024
"""Whose sight is remembered."""


class FormulaError(Exception):
    """A formula has no value for these numbers; `str()` is a clause: "divides by deletes_per_second, which is 0"."""


class Formula(Protocol):
    """An arithmetic expression over a tube's fields, checked when it was parsed."""

    @property
    def text(self) -> str:
        """As written."""
        ...

    @property
    def fields(self) -> frozenset[str]:
        """The fields that it names."""
        ...

    def value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Exact, from 0 to what an autoscaler can count. Raises FormulaError."""
        ...

    def shown(self, fields: Mapping[str, Fraction]) -> str:
        """The text with numbers in the fields' places: "3 + 0.5 * 4"."""
        ...


class Label(StrEnum):
    """What a rule may keep apart."""

    TUBE = "tube"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Fail:
    """No value while a reading is missing."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The last good reading goes on counting for so many seconds beyond `max_age_s`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Instead:
    """This value while there is none."""

    value: Fraction


type OnFailure = Fail | Hold | Instead


@dataclass(frozen=True)
class Glob:
    """Names that fit one of some patterns: exact, or with `*`, `?`, `[abc]`, which no tube or namespace has."""

    patterns: tuple[str, ...]

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """Those that are plain names, in the order given."""
        return tuple(dict.fromkeys(pattern for pattern in self.patterns if not _MAGIC.search(pattern)))

    @cached_property
    def is_exact(self) -> bool:
        """Whether all are."""
        return len(self.exact) == len(set(self.patterns))

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.exact)

    @cached_property
    def _fits(self) -> Callable[[str], object]:
        # Each `*` is tried once (fnmatch makes atomic groups), so no pattern takes long for any name.
        patterns = dict.fromkeys(pattern for pattern in self.patterns if _MAGIC.search(pattern))
        return re.compile("|".join(map(translate, patterns))).match if patterns else lambda _: None

    def matches(self, name: str) -> bool:
        """Whether this name fits; upper and lower case differ."""
        return name in self._names or self._fits(name) is not None

    def of(self, names: Iterable[str]) -> list[str]:
        """Those that fit, in their order."""
        return [name for name in names if self.matches(name)]

    @cached_property
    def _fits_in_any_case(self) -> Callable[[str], object]:
        patterns = (_ALL_BUT.sub(_those, pattern) for pattern in self.patterns)
        return re.compile("|".join(map(translate, patterns)) or _NOTHING, re.IGNORECASE).match

    def matches_in_any_case(self, name: str) -> bool:
        """The same where upper and lower case don't differ."""
        return self._fits_in_any_case(name) is not None


def _those(all_but: re.Match[str]) -> str:
    """`[!a-c]` as the set of all other characters: where case doesn't count, it would leave out `A` to `C` too."""
    return f"[{''.join(one for one in _CHARACTERS if fnmatchcase(one, all_but[0])) or 'z-a'}]"


@dataclass(frozen=True)
class Rule:
    """One metric of the operator's own."""

    name: str
    """Lower case, a DNS label."""
    tubes: Glob
    formula: Formula
    servers: frozenset[str] | None = None
    """By name; None: all."""
    per: frozenset[Label] = field(default_factory=frozenset)
    """Labels that its items keep; without any there is one item, the sum."""
    on_failure: OnFailure = Fail()
    max_age_s: float | None = None
    """None: the server's."""
    namespaces: Glob | None = None
    """Whose autoscalers may ask; None: all."""

    def spans(self, server: str, tube: str) -> bool:
        """Whether it counts this server's tube of this name."""
        return (self.servers is None or server in self.servers) and self.tubes.matches(tube)

    def is_for(self, namespace: str) -> bool:
        """Whether this namespace's autoscalers may ask."""
        return self.namespaces is None or self.namespaces.matches(namespace)

    @property
    def is_for_all(self) -> bool:
        """Whether all may."""
        return self.namespaces is None or "*" in self.namespaces.patterns


@dataclass(frozen=True, slots=True)
class Grant:
    """Namespaces that may see some tubes."""

    namespaces: Glob
    tubes: Glob


@dataclass(frozen=True)
class Rules:
    """All of them."""

    metrics: Mapping[str, Rule] = field(default_factory=dict)
    """By name."""
    tenancy: tuple[Grant, ...] = ()
    """Without any, every namespace may see every tube; with one, each sees what is granted to it."""

    @cached_property
    def sight_of(self) -> Callable[[str], Glob | None]:
        """Namespace → the tubes that it may see; None: all."""
        return lru_cache(_MOST_NAMESPACES)(self._sight_of) if self.tenancy else lambda _: None

    def _sight_of(self, namespace: str) -> Glob:
        granted = [grant.tubes.patterns for grant in self.tenancy if grant.namespaces.matches(namespace)]
        return Glob(tuple(dict.fromkeys(chain.from_iterable(granted))))

    def can_name(self, server: str, tube: str) -> bool:
        """Whether there is a metric of this tube: `tube-<tube>`, or a rule that spans it.

        Of the characters that tubes' names have, the `/` alone can't stand in a metric's name
        (path.ValidatePathSegmentName in k8s.io/apimachinery), and it can't in a label's value either.
        """
        return "/" not in tube or any(rule.spans(server, tube) for rule in self.metrics.values())

    def asked_by(self, namespace: str, name: str) -> Rule | None:
        """The rule of this lower-case name, where this namespace's autoscalers may ask for it."""
        rule = self.metrics.get(name)
        return rule if rule and rule.is_for(namespace) else None
