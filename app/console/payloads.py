"""Show a job's bytes as JSON on many lines, as text, or as a hex dump. They stay data and are never deserialized.

Deserializing (pickle, PHP, Java) runs code that somebody else wrote. JSON is validated and then laid out by its own
tokens, so that no number is rounded, no duplicate name is dropped and no escape is resolved. Characters that are
invisible or change how the rest reads are shown by their number: ⟦U+202E⟧.
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import NoReturn

from app.jobs.peek import MAX_SHOWN

MAX_DEPTH = 64
"""Nesting of JSON; deeper JSON is shown as text."""
MAX_LAID_OUT = 1 << 18
"""Characters of JSON on many lines; longer JSON is shown as text."""

_INDENT = "  "
_DUMPED = 16  # bytes per line, like hexdump

# C0 except tab and line breaks, DEL, C1: terminals execute them
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Carriage returns that don't end a line, and Unicode's format characters except those with a glyph (Arabic and Syriac
# marks, hieroglyph joiners, music); fillers, variation selectors, tags; line and paragraph separators.
_UNSEEN = re.compile(
    "\r(?!\n)|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_TOKEN = re.compile(r'[ \t\r\n]*+(?:("(?:[^"\\]++|\\.)*+")|([\[{])|([\]}])|(,)|(:)|([^\s"\[\]{},:]++))', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Payload:
    """The part of a body that is shown."""

    size: int
    """Bytes of the whole body."""
    shown: int
    """Bytes of the part."""
    form: str
    """`json`, `text` or `hex`."""
    body: str
    raw: str
    """The bytes themselves, as hex digits."""

    @property
    def truncated(self) -> bool:
        """Return True if there is more."""
        return self.shown < self.size


def payload(beginning: bytes, size: int) -> Payload:
    """Return what to show of a body of `size` bytes; `beginning` has all of it or at least MAX_SHOWN bytes."""
    shown = beginning[:MAX_SHOWN]
    complete = len(shown) == size
    try:
        # incremental: a character that the cut splits isn't an encoding error
        text = codecs.getincrementaldecoder("utf-8")().decode(shown, final=complete)
    except UnicodeDecodeError:
        text = None
    if text is None or _CONTROL.search(text):
        form, body = "hex", hex_dump(shown)
    elif complete and (lines := json_lines(text)) is not None:
        form, body = "json", visible(lines)
    else:
        form, body = "text", visible(text)
    return Payload(size, len(shown), form, body, shown.hex())


def visible(text: str) -> str:
    """Show characters that are invisible or change the direction of the text by their number, ⟦U+202E⟧."""
    return _UNSEEN.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", text)


def hex_dump(body: bytes) -> str:
    """Return lines like `hexdump -C`: offset, 16 bytes, and the same bytes in ASCII."""
    lines = []
    for offset in range(0, len(body), _DUMPED):
        some = body[offset : offset + _DUMPED]
        left, right = some[: _DUMPED // 2].hex(" "), some[_DUMPED // 2 :].hex(" ")
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in some)
        lines.append(f"{offset:08x}  {left:<23}  {right:<23}  |{text}|")
    return "\n".join(lines)


def json_lines(text: str) -> str | None:
    """Lay out a JSON object or array by its own tokens; None for anything else, and beyond the limits."""
    if text.lstrip(" \t\r\n")[:1] not in {"{", "["}:
        return None
    depth = 0
    for match in _TOKEN.finditer(text):  # before json.loads, which is recursive
        depth += bool(match[2]) - bool(match[3])
        if depth > MAX_DEPTH:
            return None
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_reject_constant)
    except ValueError:
        return None
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
        if size > 2 * MAX_LAID_OUT:
            return None
        before = token
    lines = "".join(parts)
    return lines if len(lines) <= MAX_LAID_OUT else None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is valid in Python, not in JSON")
