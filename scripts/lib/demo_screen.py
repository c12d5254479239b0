"""One picture of the demo, from what was seen so far: jobs, metric and pods along one time axis. Pure."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil

from rich.console import Group
from rich.text import Text

from scripts.lib.demo_bars import Column, bars, labelled, time_axis
from scripts.lib.demo_story import Milestones, Observation, Scaling, milestones
from scripts.lib.demo_words import Step, in_order, in_words, progress, shown, told

RESERVED, READY, METRIC, PODS, WANTED = (
    "cornflower_blue",
    "light_goldenrod3",
    "medium_purple3",
    "dark_sea_green4",
    "grey42",
)
"""Colours that read on dark and on light terminals; the figures beside them say the same in words."""
_MARGIN = 7
"""Columns to the left of the charts, for their scales."""
_WIDEST = 110
_MOST_ROWS = 7
_WITHOUT_CHARTS = 17
"""Lines of the picture besides the two bar charts."""
_MARKS = {Step.REACHED: "green", Step.LEFT_OUT: "yellow", Step.AWAITED: "dim"}


def picture(scaling: Scaling, put: int, run: Sequence[Observation], width: int, height: int) -> Group:
    """All of it for a terminal of `width` columns and `height` lines; `run` has one observation at least."""
    columns = min(width, _WIDEST) - _MARGIN - 3
    rows = max(2, min(_MOST_ROWS, (height - 1 - _WITHOUT_CHARTS) // 2))
    space = [Text()] if height > _WITHOUT_CHARTS + 2 * _MOST_ROWS + 2 else []
    last = run[-1]
    slices = sliced(run, columns)
    reached = milestones(scaling, put, run)
    most_jobs = max(put, *(seen.jobs or 0 for seen in run))
    jobs = bars(_columns(slices, _jobs), rows, most_jobs, RESERVED, READY)
    metric = bars(_columns(slices, _metric), 1, most_jobs, METRIC, METRIC)
    pods = bars(_columns(slices, _pods), rows, scaling.most, PODS, WANTED)
    return Group(
        _title(scaling, put, last, _MARGIN + columns),
        Text(),
        _legend("jobs", (RESERVED, "reserved", last.reserved), (READY, "ready", last.ready)),
        *labelled(jobs, str(most_jobs), _MARGIN),
        *space,
        _one_line(_metric_line(scaling, last)),
        *labelled(metric, "", _MARGIN),
        *space,
        _legend("pods", (PODS, "ready", last.pods), (WANTED, "wanted", last.desired)),
        *labelled(pods, str(scaling.most), _MARGIN),
        *time_axis(columns, seconds_per_column(run, columns), _MARGIN),
        *_autoscaler(last),
        *_proof(scaling, put, reached),
    )


def seconds_per_column(run: Sequence[Observation], columns: int) -> float:
    """In steps of a quarter of a second, so that the picture stands still for a while between them."""
    return max(0.5, ceil(4 * (run[-1].at_s + 0.25) / columns) / 4)


def sliced(run: Sequence[Observation], columns: int) -> list[Observation | None]:
    """What was seen last in each slice of time; the slices to come are None."""
    width_s = seconds_per_column(run, columns)
    slices: list[Observation | None] = [None] * columns
    for seen in run:
        slices[max(0, int(seen.at_s / width_s))] = seen
    for number, (before, each) in enumerate(pairwise(slices), start=1):
        if each is None and number * width_s < run[-1].at_s:  # nobody looked in this slice: it was as before
            slices[number] = slices[number - 1] or before
    return slices


def _columns(slices: Sequence[Observation | None], heights: Callable[[Observation], Column]) -> list[Column]:
    return [None if each is None else heights(each) for each in slices]


def _jobs(seen: Observation) -> Column:
    return None if seen.jobs is None or seen.reserved is None else (seen.reserved, seen.jobs)


def _metric(seen: Observation) -> Column:
    return None if seen.metric is None else (seen.metric, seen.metric)


def _pods(seen: Observation) -> Column:
    return None if seen.pods is None else (seen.pods, max(seen.pods, seen.desired or 0))


def _title(scaling: Scaling, put: int, last: Observation, width: int) -> Text:
    title = Text.assemble(
        (" beanscale ", "bold reverse"), f" {put} jobs in tube {scaling.tube}: ", (told(scaling), "bold")
    )
    clock = f"{last.at_s:.0f} s"
    title.append(clock.rjust(max(1, width - title.cell_len)))
    return _one_line(title)


def _legend(name: str, *series: tuple[str, str, int | None]) -> Text:
    legend = Text.assemble((f"{name:<{_MARGIN}}", "bold"))
    for colour, what, number in series:
        legend.append("■ ", style=colour)
        legend.append(f"{shown(number):>2} {what}   ")
    return legend


def _metric_line(scaling: Scaling, last: Observation) -> Text:
    return Text.assemble(
        (f"{'metric':<{_MARGIN}}", "bold"),
        ("■ ", METRIC),
        f"{shown(last.metric):>2} through kube-apiserver;",
        f" the autoscaler sees {shown(last.seen)} a pod, aims at {shown(scaling.jobs_per_pod)}",
    )


def _autoscaler(last: Observation) -> list[Text]:
    """Troubles, and its conditions; always as many lines, so that nothing below them jumps."""
    says = [Text(in_words(each), "" if in_order(each) else "red") for each in last.conditions]
    says = [*(Text(each, "red") for each in last.troubles), *says, *[Text()] * 3][:3]
    names = ("HPA", "", "")
    return [
        *(
            _one_line(Text.assemble((f"{name:<{_MARGIN}}", "bold"), each))
            for name, each in zip(names, says, strict=True)
        ),
        Text(),
    ]


def _proof(scaling: Scaling, put: int, reached: Milestones) -> list[Text]:
    steps = progress(scaling, put, reached)
    widest = max(len(what) for what, _, _ in steps)
    return [
        _one_line(
            Text.assemble(
                (f"{state.value} ", _MARKS[state]),
                (f"{what:<{widest}}", "bold" if state is Step.REACHED else "dim"),
                "" if when is None else f"{when:8.1f} s after the jobs were put",
            )
        )
        for what, state, when in steps
    ]


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
