"""Figures beside their bars, as one table."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL = 130


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach."""

    words: str
    reached: Callable[[float, float | None], bool | None]
    """From ours and the peer's, None where the peer wasn't measured; None: can't be told without it."""


def at_most(limit: float, unit: str) -> Bar:
    """A limit of ours alone."""
    return Bar(f"≤ {limit:g} {unit}", lambda ours, _: ours <= limit)


def at_most_of_peer(share: float) -> Bar:
    """Ours as a part of the peer's."""
    return Bar(f"≤ {share:g} of peer's", lambda ours, peer: None if peer is None else ours <= share * peer)


def at_least_of_peer(multiple: float) -> Bar:
    """Ours as a multiple of the peer's."""
    return Bar(f"≥ {multiple:g} times peer's", lambda ours, peer: None if peer is None else ours >= multiple * peer)


@dataclass
class Row:
    """One figure: what was measured each time, by program."""

    title: str
    unit: str
    bar: Bar | None = None
    judged: Callable[[Sequence[float]], float] = median
    """`max` where a single bad one already breaks the promise."""
    recorded: float | None = None
    """The peer's, for where it can't be measured."""
    digits: int = 0
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, program: str, value: float) -> None:
        """One more measurement."""
        self.samples.setdefault(program, []).append(value)

    def figure(self, program: str) -> float | None:
        """What counts, None if it wasn't measured."""
        measured = self.samples.get(program)
        return self.judged(measured) if measured else self.recorded if program == "peer" else None

    def reached(self) -> bool | None:
        """Whether the bar is; None: there is none, or it can't be told."""
        ours = self.figure("beanscale")
        return self.bar.reached(ours, self.figure("peer")) if self.bar and ours is not None else None

    def cell(self, program: str) -> str:
        """`12.3 ms (11.9 … 14.0)`: what counts, and the spread of all that were measured."""
        figure, measured = self.figure(program), self.samples.get(program)
        if figure is None:
            return "-"
        if not measured:
            return f"{figure:,.{self.digits}f} {self.unit} (recorded)"
        spread = f" ({min(measured):,.{self.digits}f} … {max(measured):,.{self.digits}f})" if len(measured) > 1 else ""
        return f"{figure:,.{self.digits}f} {self.unit}".rstrip() + spread

    def ratio(self) -> str:
        """Ours to the peer's."""
        ours, peer = self.figure("beanscale"), self.figure("peer")
        return f"{ours / peer:.2f}" if ours and peer else ""


_VERDICTS = {True: Text("✓", "bold green"), False: Text("✗", "bold red"), None: Text("")}


def show(rows: Sequence[Row], machine: str) -> bool:
    """Print the table; whether no bar was missed."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    table = Table(title="beanscale, measured", caption=machine, caption_justify="left", title_justify="left")
    table.add_column("figure")
    for column in ("beanscale", "peer", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("bar")
    table.add_column("")
    for row in rows:
        words = row.bar.words if row.bar else ""
        table.add_row(row.title, row.cell("beanscale"), row.cell("peer"), row.ratio(), words, _VERDICTS[row.reached()])
    console.print(table)
    return all(row.reached() is not False for row in rows)


def machine() -> str:
    """What it was measured on, and how busy that was."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}; load {load:.2f} before the start"
