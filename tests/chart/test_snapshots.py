"""What the chart renders changes only where it is meant to: `UPDATE_SNAPSHOTS=1 scripts/test chart` rewrites it."""

import os
from pathlib import Path

from tests.chart.conftest import Chart

SNAPSHOTS = Path(__file__).parent / "snapshots"


def test_an_example_renders_as_it_did(chart: Chart, example: Path) -> None:
    rendered = chart.text(None, f"--values={example}")
    snapshot = SNAPSHOTS / example.name.replace("-values", "")
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot.write_text(rendered)
    assert rendered == snapshot.read_text()


def test_every_snapshot_has_its_example(chart: Chart) -> None:
    examples = {path.name.replace("-values", "") for path in (chart.path / "ci").iterdir()}
    assert {path.name for path in SNAPSHOTS.iterdir()} == examples
