"""A job's bytes as something to read: JSON on many lines, text, or a hex dump. They stay data: nothing is made of them.

What deserialises (pickle, PHP, Java) runs what somebody else wrote, so it isn't done here. JSON is checked and then
laid out by its own tokens, so that no number is rounded, no name dropped and no escape resolved. What would change how
the rest is read, or wouldn't be seen at all, is shown by its number: ⟦U+202E⟧.
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import NoReturn

MOST_SHOWN = 1 << 16
"""Bytes of a body."""
MOST_DEPTH = 64
"""Of JSON, beyond which it is shown as text."""
MOST_LAID_OUT = 1 << 18
"""Characters of JSON on many lines, beyond which it is shown as text."""

_INDENT = "  "
_DUMPED = 16  # bytes a line, as hexdump has them

# C0 but for tab and line breaks, DEL, C1: whoever prints them to a terminal is commanded by them
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Carriage returns that end no line, and Unicode's format characters but for those with a glyph of their own (Arabic and
# Syriac marks, hieroglyphs' joiners, music); fillers, variation selectors, tags; separators of lines and paragraphs.
_UNSEEN = re.compile(
    "\r(?!\n)|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_TOKEN = re.compile(r'[ \t\r\n]*+(?:("(?:[^"\\]++|\\.)*+")|([\[{])|([\]}])|(,)|(:)|([^\s"\[\]{},:]++))', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Payload:
    """What of a body is shown."""

    size: int
    """Bytes of the whole body."""
    shown: int
    """Bytes of it that are in here."""
    form: str
    """`json`, `text` or `hex`."""
    body: str
    raw: str
    """The bytes themselves, as hex digits."""

    @property
    def truncated(self) -> bool:
        """Whether there is more."""
        return self.shown < self.size


def payload(beginning: bytes, size: int) -> Payload:
    """A body of `size` bytes of which at least the first MOST_SHOWN, or all, are given."""
    shown = beginning[:MOST_SHOWN]
    form, body = _read(shown, whole=len(shown) == size)
    return Payload(size, len(shown), form, body, shown.hex())


def _read(shown: bytes, *, whole: bool) -> tuple[str, str]:
    try:
        # a character that the cut halves isn't a mistake of who wrote it
        text = codecs.getincrementaldecoder("utf-8")().decode(shown, final=whole)
    except UnicodeDecodeError:
        return "hex", hex_dump(shown)
    if _CONTROL.search(text):
        return "hex", hex_dump(shown)
    laid_out = json_lines(text) if whole else None
    return ("text", visible(text)) if laid_out is None else ("json", visible(laid_out))


def visible(text: str) -> str:
    """The same with what is not to be seen, or turns the direction of what follows, as ⟦U+202E⟧."""
    return _UNSEEN.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", text)


def hex_dump(body: bytes) -> str:
    """As `hexdump -C`: offset, 16 bytes, and the same in ASCII."""
    return "\n".join(_dumped(offset, body[offset : offset + _DUMPED]) for offset in range(0, len(body), _DUMPED))


def _dumped(offset: int, some: bytes) -> str:
    left, right = some[: _DUMPED // 2].hex(" "), some[_DUMPED // 2 :].hex(" ")
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in some)
    return f"{offset:08x}  {left:<23}  {right:<23}  |{text}|"


def json_lines(text: str) -> str | None:
    """An object or array laid out by its own tokens; None where it is none, or beyond the bounds."""
    if text.lstrip(" \t\r\n")[:1] not in {"{", "["} or _is_too_deep(text) or not _is_json(text):
        return None
    lines = _laid_out(text)
    return lines if len(lines) <= MOST_LAID_OUT else None


def _is_too_deep(text: str) -> bool:
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += bool(match[2]) - bool(match[3])
        if depth > MOST_DEPTH:
            return True
    return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is Python's, not JSON's")


def _laid_out(text: str) -> str:
    parts: list[str] = []
    depth, before, size = 0, "", 0
    for match in _TOKEN.finditer(text):
        token = match[match.lastindex or 0]
        depth -= bool(match[3])
        if before and (before in "[{," or match[3]) and before + token not in {"[]", "{}"}:
            parts.append("\n" + _INDENT * depth)
        parts.append(": " if match[5] else token)
        depth += bool(match[2])
        size += len(parts[-1]) + len(_INDENT) * depth
        if size > 2 * MOST_LAID_OUT:
            break  # too long anyway
        before = token
    return "".join(parts)
