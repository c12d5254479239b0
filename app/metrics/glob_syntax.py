"""What may be a pattern for tubes or namespaces: one that could fit no name at all is a mistake, and told."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.settings import SettingError, is_dns_label
from app.tubes.names import check_tube_name

MOST_CHARACTERS = 200
_SHOWN = 60
_PART = re.compile(r"\[(?P<set>!?\]?[^]]*)\]|(?P<wild>[*?])|(?P<fixed>.)", re.DOTALL)
"""Of a pattern, as Python's fnmatch reads it: a `]` that comes first in a set is one of its characters."""
_MEMBER = re.compile(r"(?P<first>.)-(?P<last>.)|(?P<one>.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Names:
    what: str
    legal: re.Pattern[str]
    """One character."""
    characters: str
    """The same for people."""
    check: Callable[[str], object]
    """Of a whole name. Raises SettingError."""


def check_tube_pattern(text: str) -> str:
    """The same text, if it is a tube's name or a pattern for such. Raises SettingError."""
    return _checked(text, _TUBES)


def check_namespace_pattern(text: str) -> str:
    """The same text, if it is a namespace's name or a pattern for such. Raises SettingError."""
    return _checked(text, _NAMESPACES)


def _check_namespace(name: str) -> None:
    if not is_dns_label(name):
        raise SettingError(
            f"{_shown(name)} can't name a namespace: at most 63 lower-case letters, digits and '-', with a letter or"
            " digit at each end"
        )


_TUBES = _Names("tube", re.compile(r"[A-Za-z0-9+/;.$_()-]"), "A-Z a-z 0-9 - + / ; . $ _ ( )", check_tube_name)
_NAMESPACES = _Names("namespace", re.compile(r"[a-z0-9-]"), "a-z 0-9 -", _check_namespace)


def _checked(text: str, names: _Names) -> str:
    if not text:
        raise SettingError(f"names no {names.what}: the text is empty")
    is_pattern = False
    for part in _PART.finditer(text):
        is_pattern |= part["fixed"] is None
        if part["set"] is not None:
            _check_set(part["set"], text, names)
        elif part["fixed"]:
            _check_character(part["fixed"], text, names)
    if is_pattern:
        _check_ends(text, names)
    else:
        names.check(text)
    return text


def _check_ends(pattern: str, names: _Names) -> None:
    if pattern.startswith("-"):
        raise SettingError(f"{_shown(pattern)} can't fit any {names.what}: none begins with '-'")
    if len(pattern) > MOST_CHARACTERS:
        raise SettingError(f"{_shown(pattern)} is too long: a pattern has at most {MOST_CHARACTERS} characters")


def _check_set(body: str, pattern: str, names: _Names) -> None:
    members = body.removeprefix("!")
    if not members:
        raise SettingError(f"{_shown(pattern)} has a set without characters: [{body}]")
    for member in _MEMBER.finditer(members):
        if member["one"]:
            _check_character(member["one"], pattern, names)
            continue
        _check_character(member["first"], pattern, names)
        _check_character(member["last"], pattern, names)
        if member["first"] > member["last"]:
            raise SettingError(
                f"{_shown(pattern)} has a range that is empty: {member[0]}; write {member[0][::-1]} instead"
            )


def _check_character(character: str, pattern: str, names: _Names) -> None:
    if names.legal.fullmatch(character):
        return
    if character == "[":
        raise SettingError(f"{_shown(pattern)} has a '[' that no ']' follows")
    advice = {
        ",": "; write each name as an item of its own",
        " ": "; write each name as an item of its own",
        "^": "; for any character but some write [!…]",
    }
    raise SettingError(
        f"{_shown(pattern)} can't fit any {names.what}: {character!r} can't stand in a {names.what}'s name, which has"
        f" only {names.characters}{advice.get(character, '')}"
    )


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}… ({len(text):,} characters)"
