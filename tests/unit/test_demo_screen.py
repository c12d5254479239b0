"""The demo's picture: bars, a time axis, the whole, and the whole as SVG."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from scripts.lib.demo_progress import Condition, Observation, Scaling
from scripts.lib.demo_screen import bars, labelled, picture, seconds_per_column, sliced, svg, time_axis

SCALING = Scaling("tube-hello-world", Fraction(2), min_pods=1, max_pods=10, timeout_s=120)
LIMITED = Condition("ScalingLimited", holds=True, reason="TooManyReplicas", message="")


def seen(at_s: float, ready: int, reserved: int, desired: int, pods: int) -> Observation:
    jobs = ready + reserved
    return Observation(
        at_s, ready, reserved, 20 - jobs, jobs, Fraction(jobs, pods), desired, pods, desired, pods, (LIMITED,)
    )


RUN = (seen(0, 19, 1, 1, 1), seen(4, 18, 1, 10, 1), seen(9, 9, 10, 10, 10), seen(20, 0, 0, 10, 10))


def drawn(chart: Sequence[Text]) -> list[str]:
    return [row.plain for row in chart]


def on_screen(run: Sequence[Observation], width: int, height: int) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(picture(SCALING, 20, run, width, height))
    return captured.get().splitlines()


def test_a_bar_is_as_high_as_its_value_to_an_eighth_of_a_line() -> None:
    assert drawn(bars([(10, 10), (5, 5), (2.5, 2.5), (0, 0)], 2, 10, "blue", "red")) == ["█   ", "██▄ "]


def test_two_series_stand_on_top_of_each_other_in_their_colors() -> None:
    (above, below) = bars([(5, 10)], 2, 10, "blue", "red")
    assert [(row.plain, str(row.spans[0].style)) for row in (above, below)] == [("█", "red"), ("█", "blue")]


def test_where_they_meet_within_a_cell_it_has_both_colors() -> None:
    (row,) = bars([(5, 10)], 1, 10, "blue", "red")
    assert (row.plain, str(row.spans[0].style)) == ("▄", "blue on red")


def test_a_cell_that_would_need_three_colors_has_the_larger_parts() -> None:
    (row,) = bars([(5, 7.5), (1, 7.5)], 1, 10, "blue", "red")
    assert [(row.plain[span.start : span.end], str(span.style)) for span in row.spans] == [("▆", "blue"), ("▆", "red")]


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    assert drawn(bars([None, (10, 10)], 1, 10, "blue", "red")) == [" █"]


def test_the_scale_names_top_and_bottom() -> None:
    assert drawn(labelled([Text("a"), Text("b"), Text("c")], "20", 7)) == ["   20 ┤a", "      │b", "    0 ┤c"]


def test_the_axis_has_a_tick_for_each_figure_that_has_room() -> None:
    ruler, figures = drawn(time_axis(24, 0.5, 2))
    assert ruler == " └┬─────────┬─────────┬───"
    assert figures.rstrip() == "  0 s       5 s       10 s"


@pytest.mark.parametrize(("last_s", "seconds"), [(0, 0.5), (49, 0.5), (51, 0.75), (74, 0.75), (99, 1), (500, 5.25)])
def test_columns_get_wider_so_that_the_whole_run_fits(last_s: float, seconds: float) -> None:
    run = (replace(RUN[0], at_s=last_s),)
    assert seconds_per_column(run, 100) == seconds
    assert sliced(run, 100)[int(last_s / seconds)] is run[0]


def test_a_slice_without_a_sample_repeats_the_previous_one_and_the_future_is_empty() -> None:
    first, last = seen(0, 19, 1, 1, 1), seen(2, 18, 1, 10, 1)
    assert sliced((first, last), 8) == [first, first, first, first, last, None, None, None]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 22), (110, 50), (200, 60)])
def test_the_picture_fits_the_terminal(width: int, height: int) -> None:
    screen = on_screen(RUN, width, height)
    assert len(screen) < height
    assert max(map(len, screen)) <= width


def test_a_terminal_of_80_columns_shows_every_word() -> None:
    assert "…" not in "".join(line for line in on_screen(RUN, 80, 24) if not line.startswith("…"))


def test_the_picture_has_the_numbers_of_the_bars() -> None:
    screen = "\n".join(on_screen(RUN[:3], 100, 36))
    for words in (
        "20 jobs in tube hello-world: one pod per 2 jobs, 1 to 10 pods",
        "10 reserved   ■  9 ready",
        "19 through kube-apiserver; the HPA sees 1.9 per pod, target 2",
        "10 ready   ■ 10 desired",
        "HPA    wants more pods than maxReplicas allows",
        "✓ scaled to 10 pods by the HPA controller     4.0 s after the jobs were put",
        "… all 20 jobs done",
    ):
        assert words in screen


def test_the_picture_keeps_its_height_for_any_condition() -> None:
    silent = (replace(RUN[0], conditions=()),)
    talkative = (replace(RUN[0], conditions=(LIMITED,) * 3, errors=("away",) * 4),)
    assert len(on_screen(silent, 100, 36)) == len(on_screen(talkative, 100, 36))


def test_errors_are_on_the_screen() -> None:
    blind = replace(RUN[0], at_s=30, ready=None, reserved=None, metric=None, pods=None, errors=("beanstalkd is away",))
    screen = "\n".join(on_screen((*RUN, blind), 100, 36))
    assert "HPA    beanstalkd is away" in screen
    assert " ? reserved" in screen


def test_the_capture_loads_nothing_and_draws_its_bars_itself() -> None:
    captured = svg(picture(SCALING, 20, RUN, 100, 36), 100, "scripts/demo")
    assert "font-face" not in captured
    assert re.findall(r"""(?:href|src|url)\W*https?:""", captured) == []
    assert re.search(r'<path class="demo-r\d+" shape-rendering="crispEdges" d="M', captured)
    assert not re.search(r"<text[^>]*>[█▇▆▅▄▃▂▁]", captured)
    assert len(captured) < 100_000
