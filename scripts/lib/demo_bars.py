"""Bar charts in characters: two series on top of each other, a column for each slice of time. Pure."""

from collections.abc import Sequence
from itertools import groupby, zip_longest
from operator import itemgetter

from rich.style import Style
from rich.text import Text

EIGHTHS = " ▁▂▃▄▅▆▇█"
"""By how many eighths of the cell they fill, from below."""

type Column = tuple[float, float] | None
"""The heights of the lower series and of both together; None: nothing is known."""


def bars(columns: Sequence[Column], rows: int, top: float, lower: str, upper: str) -> list[Text]:
    """The chart's rows from above, for heights from 0 to `top`; `lower` and `upper` are colours."""
    scale = rows * 8 / top
    heights = [None if each is None else (round(each[0] * scale), round(each[1] * scale)) for each in columns]
    return [_merged([_cell(each, row * 8, lower, upper) for each in heights]) for row in reversed(range(rows))]


def _merged(cells: Sequence[tuple[str, Style]]) -> Text:
    """One piece for each run of cells in one style: a tenth of what a terminal would have to read."""
    runs = groupby(cells, key=itemgetter(1))
    return Text.assemble(*(("".join(character for character, _ in run), style) for style, run in runs), no_wrap=True)


def _cell(heights: tuple[int, int] | None, floor: int, lower: str, upper: str) -> tuple[str, Style]:
    """What stands in the cell whose lower edge is at `floor`, in eighths."""
    inner, outer = (max(0, min(8, height - floor)) for height in heights) if heights else (0, 0)
    if not outer:
        return " ", Style()
    if not inner:
        return EIGHTHS[outer], Style(color=upper)
    if inner == outer:
        return EIGHTHS[inner], Style(color=lower)
    # a cell has two colours: where it would need a third, for the empty rest, the larger part takes the whole
    if outer == 8:
        return EIGHTHS[inner], Style(color=lower, bgcolor=upper)
    return EIGHTHS[outer], Style(color=lower if inner * 2 >= outer else upper)


def labelled(chart: Sequence[Text], top: str, width: int) -> list[Text]:
    """With a scale on the left, `width` wide: `top` above, 0 below."""
    labels = [top, *[""] * (len(chart) - 2), "0"] if len(chart) > 1 else [top]
    return [
        Text.assemble((f"{label:>{width - 2}} ", "dim"), ("┤" if label else "│", "dim"), row)
        for label, row in zip_longest(labels, chart, fillvalue=Text())
        if isinstance(label, str)
    ]


def time_axis(columns: int, seconds_per_column: float, width: int) -> list[Text]:
    """A ruler below the columns, and its figures: every 5, 10, 15… seconds, far enough from each other to read."""
    every = next(each for each in (5, 10, 15, 30, 60, 120, 300, 600, 3600) if each / seconds_per_column >= 8)
    ruler, figures = ["─"] * columns, [" "] * columns
    for second in range(0, int(columns * seconds_per_column), every):
        place, figure = round(second / seconds_per_column), f"{second} s"
        ruler[place] = "┬"
        if place + len(figure) <= columns:
            figures[place : place + len(figure)] = figure
    return [
        Text(" " * (width - 1) + "└" + "".join(ruler), style="dim", no_wrap=True),
        Text(" " * width + "".join(figures), style="dim", no_wrap=True),
    ]
