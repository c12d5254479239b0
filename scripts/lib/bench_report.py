"""Results and their thresholds in one table."""

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
class Threshold:
    """The limit of a result."""

    text: str
    reached: Callable[[float, float | None], bool | None]
    """From beanscale's result and the reference server's. None: unknown, because the latter wasn't measured."""


def at_most(limit: float, unit: str) -> Threshold:
    """Return an absolute maximum."""
    return Threshold(f"≤ {limit:g} {unit}", lambda result, _: result <= limit)


def at_most_of_reference(share: float) -> Threshold:
    """Return a maximum as a share of the reference server's result."""
    return Threshold(
        f"≤ {share:g} of reference", lambda result, other: None if other is None else result <= share * other
    )


def at_least_of_reference(multiple: float) -> Threshold:
    """Return a minimum as a multiple of the reference server's result."""
    text = f"≥ {multiple:g} times reference"
    return Threshold(text, lambda result, other: None if other is None else result >= multiple * other)


@dataclass
class Row:
    """One result: all samples, by program."""

    title: str
    unit: str
    threshold: Threshold | None = None
    aggregate: Callable[[Sequence[float]], float] = median
    """`max` if every sample must meet the threshold."""
    recorded: float | None = None
    """The reference server's result, if it can't be measured here."""
    digits: int = 0
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, program: str, value: float) -> None:
        """Add a sample."""
        self.samples.setdefault(program, []).append(value)

    def result(self, program: str) -> float | None:
        """Return the aggregated samples; None if there are none."""
        measured = self.samples.get(program)
        return self.aggregate(measured) if measured else self.recorded if program == "peer" else None

    def reached(self) -> bool | None:
        """Return whether the threshold is met; None if there is none, or if that is unknown."""
        result = self.result("beanscale")
        return self.threshold.reached(result, self.result("peer")) if self.threshold and result is not None else None

    def cell(self, program: str) -> str:
        """Return e.g. `12.3 ms (11.9 … 14.0)`: the result, and the range of all samples."""
        result, measured = self.result(program), self.samples.get(program)
        if result is None:
            return "-"
        if not measured:
            return f"{result:,.{self.digits}f} {self.unit} (recorded)"
        spread = f" ({min(measured):,.{self.digits}f} … {max(measured):,.{self.digits}f})" if len(measured) > 1 else ""
        return f"{result:,.{self.digits}f} {self.unit}".rstrip() + spread

    def ratio(self) -> str:
        """Return beanscale's result divided by the reference server's."""
        result, reference = self.result("beanscale"), self.result("peer")
        return f"{result / reference:.2f}" if result and reference else ""


_VERDICTS = {True: Text("✓", "bold green"), False: Text("✗", "bold red"), None: Text("")}


def show(rows: Sequence[Row], machine: str) -> bool:
    """Print the table. Return whether no threshold was missed."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    table = Table(title="beanscale benchmark", caption=machine, caption_justify="left", title_justify="left")
    table.add_column("result")
    for column in ("beanscale", "reference", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("threshold")
    table.add_column("")
    for row in rows:
        limit = row.threshold.text if row.threshold else ""
        table.add_row(row.title, row.cell("beanscale"), row.cell("peer"), row.ratio(), limit, _VERDICTS[row.reached()])
    console.print(table)
    return all(row.reached() is not False for row in rows)


def machine() -> str:
    """Return the machine and its load."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}; load {load:.2f} before the start"
