"""Plain text for a terminal: wrapped lines and aligned tables, at most 100 columns wide."""

import textwrap
from collections.abc import Iterator, Sequence

WIDTH = 100
_LONGEST_CELL = 40


def printable(text: str) -> str:
    """One line; what might command a terminal becomes `?`."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def wrapped(text: str, indent: int = 2, label: str = "", label_width: int = 0) -> Iterator[str]:
    """`text`, with a label before its first line and the others below its beginning."""
    first = f"{' ' * indent}{label:<{label_width}}"
    yield from textwrap.wrap(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Columns under their heads, the first `left` flush left, numbers flush right; columns too many are left out."""
    lines = [[_cell(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    fitting = sum(1 for end in _ends(widths) if end <= WIDTH)
    for line in lines:
        cells = [
            f"{cell:<{width}}" if position < left else f"{cell:>{width}}"
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells[:fitting])).rstrip()


def _cell(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _LONGEST_CELL else f"{shown[: _LONGEST_CELL - 1]}…"


def _ends(widths: Sequence[int]) -> Iterator[int]:
    """The column of the screen at which each column of the table ends."""
    end = 0
    for width in widths:
        end += 2 + width
        yield end
