"""The README and the manual: their examples render, and their messages are those of the programs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import Chart

TOP = Path(__file__).parents[2]
DOCUMENTS = (TOP / "README.md", TOP / "chart/README.md")
KUBERNETES = (
    "no metrics returned from external metrics API",
    'forbidden: User "system:serviceaccount:kube-system:horizontal-pod-autoscaler" cannot list',
)
"""Messages that Kubernetes prints."""


def examples() -> list[Any]:
    """Return the values in the documents' YAML blocks."""
    blocks = [block for each in DOCUMENTS for block in re.findall(r"```yaml\n(.*?)```", each.read_text(), re.DOTALL)]
    values = [yaml.safe_load(block) for block in blocks]
    return [each for each in values if not is_hpa(each)]


def is_hpa(block: Any) -> bool:
    return any(isinstance(metric, dict) and "external" in metric for metric in block.get("metrics", []))


@pytest.mark.parametrize("values", examples(), ids="+".join)
def test_an_example_renders(chart: Chart, values: Any) -> None:
    chart.render(values)


def test_helm_shows_the_manual(chart: Chart) -> None:
    assert chart.helm("show", "readme", str(chart.path)).stdout == (TOP / "chart/README.md").read_text() + "\n"


def quoted() -> list[str]:
    """Return the literal parts of the messages that the documents quote; … and '…' stand for variable parts."""
    lines = [line for each in DOCUMENTS for line in each.read_text().splitlines()]
    table = [line.partition(" | ")[0] for line in lines if line.startswith(("| HPA:", "| `helm install`:"))]
    table += [line.partition("`: ")[0] + "`" for line in lines if line.startswith("- `") and "…" in line]
    messages = [message for line in table for message in re.findall(r"`([^`]+)`", line) if message != "helm install"]
    parts = [part.strip(" ;:,'()") for message in messages for part in re.split(r"…|'[^']*'", message)]
    return [part for part in parts if len(part) > len("its tubes") and part not in KUBERNETES]


def sources() -> str:
    """Return the programs' text, with `…` for variable parts and without breaks inside messages."""
    files = [*TOP.glob("app/**/*.py"), *TOP.glob("chart/templates/**/*.*")]
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(each.read_text() for each in files))
    return re.sub(r"\{[^{}]*\}|%[sdq]", "…", text)


def test_messages_are_quoted_exactly() -> None:
    text = sources()
    assert len(quoted()) >= 10
    assert [part for part in quoted() if part.removesuffix(": connection refused") not in text] == []
