"""The picture of the demo: jobs, metric and pods as bar charts over one time axis, for a terminal or as SVG. Pure."""

import re
from collections.abc import Callable, Sequence
from html import unescape
from io import StringIO
from itertools import groupby, pairwise, zip_longest
from math import ceil
from operator import itemgetter

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from scripts.lib.demo_progress import Milestones, Observation, Scaling, Step, milestones, shown, steps

EIGHTHS = " ▁▂▃▄▅▆▇█"
"""Block characters by the number of eighths that they fill, from below."""

type Column = tuple[float, float] | None
"""The heights of the lower series and of both together; None: unknown."""


def bars(columns: Sequence[Column], rows: int, top: float, lower: str, upper: str) -> list[Text]:
    """Return the chart's rows from the top, for heights from 0 to `top`; `lower` and `upper` are colors."""
    scale = rows * 8 / top
    heights = [None if each is None else (round(each[0] * scale), round(each[1] * scale)) for each in columns]
    return [_merged([_cell(each, row * 8, lower, upper) for each in heights]) for row in reversed(range(rows))]


def _merged(cells: Sequence[tuple[str, Style]]) -> Text:
    """Join cells of one style: a tenth of the output for a terminal."""
    runs = groupby(cells, key=itemgetter(1))
    return Text.assemble(*(("".join(character for character, _ in run), style) for style, run in runs), no_wrap=True)


def _cell(heights: tuple[int, int] | None, floor: int, lower: str, upper: str) -> tuple[str, Style]:
    """Return the character and style of the cell with its lower edge at `floor`, in eighths."""
    inner, outer = (max(0, min(8, height - floor)) for height in heights) if heights else (0, 0)
    if not outer:
        return " ", Style()
    if not inner:
        return EIGHTHS[outer], Style(color=upper)
    if inner == outer:
        return EIGHTHS[inner], Style(color=lower)
    # a cell has only two colors: if the empty rest would need a third, the larger part fills the cell
    if outer == 8:
        return EIGHTHS[inner], Style(color=lower, bgcolor=upper)
    return EIGHTHS[outer], Style(color=lower if inner * 2 >= outer else upper)


def labelled(chart: Sequence[Text], top: str, width: int) -> list[Text]:
    """Return the chart with a scale of `width` columns on its left: `top` above, 0 below."""
    labels = [top, *[""] * (len(chart) - 2), "0"] if len(chart) > 1 else [top]
    return [
        Text.assemble((f"{label:>{width - 2}} ", "dim"), ("┤" if label else "│", "dim"), row)
        for label, row in zip_longest(labels, chart, fillvalue=Text())
        if isinstance(label, str)
    ]


def time_axis(columns: int, seconds_per_column: float, width: int) -> list[Text]:
    """Return a ruler for the columns, with labels every 5, 10, 15… seconds that don't overlap."""
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


RESERVED, READY, METRIC, PODS, WANTED = (
    "cornflower_blue",
    "light_goldenrod3",
    "medium_purple3",
    "dark_sea_green4",
    "grey42",
)
"""Colors for dark and light terminals; the numbers beside them state the same."""
_MARGIN = 7
"""Columns left of the charts, for their scales."""
_MAX_WIDTH = 110
_MAX_ROWS = 7
_WITHOUT_CHARTS = 18
"""Lines of the picture besides the two bar charts."""
_MARKS = {Step.REACHED: "green", Step.SKIPPED: "yellow", Step.PENDING: "dim"}


def picture(scaling: Scaling, put: int, run: Sequence[Observation], width: int, height: int) -> Group:
    """Return the picture for a terminal of `width` columns and `height` lines; `run` has at least one observation."""
    columns = min(width, _MAX_WIDTH) - _MARGIN - 3
    rows = max(2, min(_MAX_ROWS, (height - 1 - _WITHOUT_CHARTS) // 2))
    space = [Text()] if height > _WITHOUT_CHARTS + 2 * _MAX_ROWS + 2 else []
    last = run[-1]
    slices = sliced(run, columns)
    reached = milestones(scaling, put, run)
    most_jobs = max(put, *(seen.jobs or 0 for seen in run))
    jobs = bars(_columns(slices, _jobs), rows, most_jobs, RESERVED, READY)
    metric = bars(_columns(slices, _metric), 1, most_jobs, METRIC, METRIC)
    pods = bars(_columns(slices, _pods), rows, scaling.max_pods, PODS, WANTED)
    return Group(
        _title(scaling, put, last, _MARGIN + columns),
        Text(),
        _legend("jobs", (RESERVED, "reserved", last.reserved), (READY, "ready", last.ready)),
        *labelled(jobs, str(most_jobs), _MARGIN),
        *space,
        _one_line(_metric_line(scaling, last)),
        *labelled(metric, "", _MARGIN),
        *space,
        _legend("pods", (PODS, "ready", last.pods), (WANTED, "desired", last.replicas)),
        *labelled(pods, str(scaling.max_pods), _MARGIN),
        *time_axis(columns, seconds_per_column(run, columns), _MARGIN),
        *_hpa(last),
        *_proof(scaling, put, reached),
    )


def seconds_per_column(run: Sequence[Observation], columns: int) -> float:
    """Return the width of a column in steps of a quarter of a second, so that the picture rarely changes its scale."""
    return max(0.5, ceil(4 * (run[-1].at_s + 0.25) / columns) / 4)


def sliced(run: Sequence[Observation], columns: int) -> list[Observation | None]:
    """Return the last observation in each slice of time; later slices are None."""
    width_s = seconds_per_column(run, columns)
    slices: list[Observation | None] = [None] * columns
    for seen in run:
        slices[max(0, int(seen.at_s / width_s))] = seen
    for number, (before, each) in enumerate(pairwise(slices), start=1):
        if each is None and number * width_s < run[-1].at_s:  # no observation in this slice: unchanged
            slices[number] = slices[number - 1] or before
    return slices


def _columns(slices: Sequence[Observation | None], heights: Callable[[Observation], Column]) -> list[Column]:
    return [None if each is None else heights(each) for each in slices]


def _jobs(seen: Observation) -> Column:
    return None if seen.jobs is None or seen.reserved is None else (seen.reserved, seen.jobs)


def _metric(seen: Observation) -> Column:
    return None if seen.metric is None else (seen.metric, seen.metric)


def _pods(seen: Observation) -> Column:
    return None if seen.pods is None else (seen.pods, max(seen.pods, seen.replicas or 0))


def _title(scaling: Scaling, put: int, last: Observation, width: int) -> Text:
    title = Text.assemble(
        (" beanscale ", "bold reverse"), f" {put} jobs in tube {scaling.tube}: ", (str(scaling), "bold")
    )
    clock = f"{last.at_s:.0f} s"
    title.append(clock.rjust(max(1, width - title.cell_len)))
    return _one_line(title)


def _legend(name: str, *series: tuple[str, str, int | None]) -> Text:
    legend = Text.assemble((f"{name:<{_MARGIN}}", "bold"))
    for color, what, number in series:
        legend.append("■ ", style=color)
        legend.append(f"{shown(number):>2} {what}   ")
    return legend


def _metric_line(scaling: Scaling, last: Observation) -> Text:
    return Text.assemble(
        (f"{'metric':<{_MARGIN}}", "bold"),
        ("■ ", METRIC),
        f"{shown(last.metric):>2} through kube-apiserver;",
        f" the HPA sees {shown(last.per_pod)} per pod, target {shown(scaling.jobs_per_pod)}",
    )


def _hpa(last: Observation) -> list[Text]:
    """Return errors and conditions; always the same number of lines, so that the rest doesn't move."""
    conditions = [Text(str(each), "" if each.is_normal() else "red") for each in last.conditions]
    lines = [*(Text(each, "red") for each in last.errors), *conditions, *[Text()] * 3][:3]
    names = ("HPA", "", "")
    return [
        *(
            _one_line(Text.assemble((f"{name:<{_MARGIN}}", "bold"), each))
            for name, each in zip(names, lines, strict=True)
        ),
        Text(),
    ]


def _proof(scaling: Scaling, put: int, reached: Milestones) -> list[Text]:
    ordered = steps(scaling, put, reached)
    widest = max(len(what) for what, _, _ in ordered)
    return [
        _one_line(
            Text.assemble(
                (f"{state.value} ", _MARKS[state]),
                (f"{what:<{widest}}", "bold" if state is Step.REACHED else "dim"),
                "" if when is None else f"{when:8.1f} s after the jobs were put",
            )
        )
        for what, state, when in ordered
    ]


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_LETTERS = "Fira Code, monospace"
_MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_TEXT = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="(?P<width>[\d.]+)"[^>]*>'
    r"(?P<text>[^<]*)</text>"
)
_CELL_HEIGHT, _BASELINE = 24.4, 18.5
"""Of a line in rich's SVG, in its units; the baseline is measured from the line's upper edge."""


def svg(picture: RenderableType, width: int, title: str) -> str:
    """Return the picture as SVG without external fonts, `width` characters wide."""
    console = Console(record=True, width=width, file=StringIO(), color_system="truecolor", force_terminal=True)
    console.print(picture)
    drawn = console.export_svg(title=title, theme=_THEME, unique_id="demo")
    drawn = _FONT_FACE.sub("", drawn).replace(_LETTERS, _MONOSPACE)
    return _TEXT.sub(_bars_as_shapes, drawn)


def _bars_as_shapes(text: re.Match[str]) -> str:
    """Return a piece of a bar chart as a path: fonts draw block characters with gaps between lines."""
    characters = unescape(text["text"]).replace("\N{NO-BREAK SPACE}", " ")
    if not characters.strip() or set(characters) - set(EIGHTHS):
        return text[0]
    left, bottom = float(text["x"]), float(text["y"]) - _BASELINE + _CELL_HEIGHT
    cell = float(text["width"]) / len(characters)
    heights = [EIGHTHS.index(character) * _CELL_HEIGHT / 8 for character in characters]
    path = "".join(
        f"M{left + number * cell:.1f} {bottom:.1f}v-{height:.1f}h{cell:.1f}V{bottom:.1f}z"
        for number, height in enumerate(heights)
        if height
    )
    return f'<path class="{text["style"]}" shape-rendering="crispEdges" d="{path}"/>'


_THEME = TerminalTheme(
    (24, 26, 31),
    (215, 218, 224),
    [
        (60, 64, 72),
        (224, 108, 117),
        (125, 195, 95),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (215, 218, 224),
    ],
)
