"""The operator's rules and grants as values, with patterns for names. No I/O."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase, translate
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain
from string import ascii_letters, ascii_lowercase, digits

from app.beanstalkd.protocol import check_tube_name
from app.metrics.formula import Formula
from app.settings import SettingError, is_dns_label
from app.text import quoted

MAX_PATTERN = 200
"""Characters of a pattern."""
_MAGIC = re.compile(r"[*?\[]")
_SET = re.compile(r"\[!?+.[^]]*\]", re.DOTALL)
"""As Python's fnmatch reads it: a `]` that comes first is one of its characters."""
_ALL_BUT = re.compile(r"\[!\]?[^]]*\]")
_CHARACTERS = f"{ascii_letters}{digits}+/;.$_()-"
"""Of tube names; the `-` last, as it must be in a set."""
_NOTHING = "(?!)"
_MAX_NAMESPACES = 1024
"""Namespaces whose visible tubes are cached."""


def check_tube_pattern(text: str) -> str:
    """Return `text` if it is a tube's name or a pattern for tubes. Raises SettingError."""
    return _check_pattern(text, "tube", _CHARACTERS) if _MAGIC.search(text) else check_tube_name(text)


def check_namespace_pattern(text: str) -> str:
    """Return `text` if it is a namespace's name or a pattern for namespaces. Raises SettingError."""
    if _MAGIC.search(text):
        return _check_pattern(text, "namespace", f"{ascii_lowercase}{digits}-")
    if not is_dns_label(text):
        raise SettingError(
            f"{quoted(text)} is not a valid namespace: use at most 63 lower-case letters, digits and '-', with a"
            " letter or digit at each end"
        )
    return text


def _check_pattern(text: str, kind: str, characters: str) -> str:
    if len(text) > MAX_PATTERN:
        raise SettingError(f"{quoted(text)} is too long: the limit of a pattern is {MAX_PATTERN} characters")
    other = next((each for each in text if each not in f"{characters}*?[]!"), None)
    if other is not None:
        raise SettingError(f"{quoted(text)} can't match a {kind}: {other!r} isn't allowed in a {kind}'s name")
    if "[" in _SET.sub("", text):
        raise SettingError(f"{quoted(text)} has a '[' without a ']' that ends its set of characters")
    return text


class Label(StrEnum):
    """A label that a rule's values can keep."""

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
class Substitute:
    """This value while there is none."""

    value: Fraction


type OnFailure = Fail | Hold | Substitute


@dataclass(frozen=True)
class Glob:
    """Patterns for names: exact, or with `*`, `?` or `[abc]`, which no tube or namespace has in its name."""

    patterns: tuple[str, ...]

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """The patterns that are plain names, in their order."""
        return tuple(dict.fromkeys(pattern for pattern in self.patterns if not _MAGIC.search(pattern)))

    @cached_property
    def is_exact(self) -> bool:
        """True if all patterns are plain names."""
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
        """Return whether the name matches; upper and lower case differ."""
        return name in self._names or self._fits(name) is not None

    def of(self, names: Iterable[str]) -> list[str]:
        """Return those that match, in the same order."""
        return [name for name in names if self.matches(name)]

    @cached_property
    def _fits_in_any_case(self) -> Callable[[str], object]:
        patterns = (_ALL_BUT.sub(_those, pattern) for pattern in self.patterns)
        return re.compile("|".join(map(translate, patterns)) or _NOTHING, re.IGNORECASE).match

    def matches_in_any_case(self, name: str) -> bool:
        """Return whether the name matches in some case."""
        return self._fits_in_any_case(name) is not None


def _those(all_but: re.Match[str]) -> str:
    """`[!a-c]` as the set of all other characters: where case doesn't count, it would leave out `A` to `C` too."""
    return f"[{''.join(one for one in _CHARACTERS if fnmatchcase(one, all_but[0])) or 'z-a'}]"


@dataclass(frozen=True)
class Rule:
    """A metric that the operator defined."""

    name: str
    """Lower case, a DNS label."""
    tubes: Glob
    formula: Formula
    servers: frozenset[str] | None = None
    """By name; None: all."""
    per: frozenset[Label] = field(default_factory=frozenset)
    """Labels that its values keep; without any there is one value, the sum."""
    on_failure: OnFailure = Fail()
    max_age_s: float | None = None
    """Maximum age of a reading in seconds; None: the server's."""
    ignores_paused: bool = False
    """True if the jobs of a paused tube count only while they are reserved."""
    unit: str | None = None
    """What its values count, such as `orders`; None: the unit that the formula has."""
    namespaces: Glob | None = None
    """Namespaces that can query it, whatever tubes they can access; None: all namespaces."""

    def covers(self, server: str, tube: str) -> bool:
        """Return whether it counts this server's tube of this name."""
        return (self.servers is None or server in self.servers) and self.tubes.matches(tube)

    @property
    def is_public(self) -> bool:
        """True if every namespace can query it."""
        return self.namespaces is None or "*" in self.namespaces.patterns


@dataclass(frozen=True, slots=True)
class Grant:
    """Tubes that some namespaces can access."""

    namespaces: Glob
    tubes: Glob


@dataclass(frozen=True)
class Rules:
    """The operator's rules and grants."""

    metrics: Mapping[str, Rule] = field(default_factory=dict)
    """By name."""
    tenancy: tuple[Grant, ...] = ()
    """Without any, every namespace can access every tube; with one, each namespace only those granted to it."""

    def visible_tubes_of(self, namespace: str) -> Glob | None:
        """Return the tubes that the namespace can access, or None for all."""
        return self._visible_tubes(namespace) if self.tenancy else None

    @cached_property
    def _visible_tubes(self) -> Callable[[str], Glob]:
        @lru_cache(_MAX_NAMESPACES)
        def visible(namespace: str) -> Glob:
            granted = [grant.tubes.patterns for grant in self.tenancy if grant.namespaces.matches(namespace)]
            return Glob(tuple(dict.fromkeys(chain.from_iterable(granted))))

        return visible

    def has_metric(self, server: str, tube: str) -> bool:
        """Return whether a metric covers this tube: `tube-<tube>`, or a rule.

        Of the characters of tube names, `/` alone isn't allowed in a metric's name
        (path.ValidatePathSegmentName in k8s.io/apimachinery), nor in a label's value.
        """
        return "/" not in tube or any(rule.covers(server, tube) for rule in self.metrics.values())

    def rule_for(self, namespace: str, name: str) -> Rule | None:
        """Return the rule of this lower-case name if the namespace can query it, or None.

        With tenancy, a rule without namespaces (which rules_file.py rejects) is for none: it could reveal any tube.
        """
        rule = self.metrics.get(name)
        if rule is None:
            return None
        if rule.namespaces is None:
            return None if self.tenancy else rule
        return rule if rule.namespaces.matches(namespace) else None
