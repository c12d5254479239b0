"""Twice as much of anything that an unauthenticated client can send takes about twice the time, whatever it repeats."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.api.negotiation import JSON, YAML, Kind, negotiate
from app.api.request import percent_decoded
from app.api.status import StatusError
from app.metrics.selector import SelectorError, parse_selector
from tests.linear_time import PHASES, is_linear
from tests.unit.api.requests import request

SIZE = 1 << 14
"""Characters, of which the HTTP server accepts as many at most."""
pieces = st.tuples(
    st.text("a=b,;!()<>%41.+-_/*\"' ", max_size=6),
    st.text("a=b,;!()<>%41.+-_/*\"' ", min_size=1, max_size=4),
    st.text("a=b,;!()<>%41.+-_/*\"' ", max_size=6),
)


def accept(text: str) -> None:
    try:
        negotiate(text, frozenset({Kind("Table", "meta.k8s.io", "v1")}))
    except StatusError as error:
        assert error.code == 406  # noqa: PT017 - any other end is a failure


def selector(text: str) -> None:
    try:
        parse_selector(text).matches({"tube": "a"})
    except SelectorError as refused:
        assert len(str(refused)) < 20 * SIZE  # noqa: PT017 - either outcome is right


def query(text: str) -> None:
    for each in (text, f"labelSelector={text}"):
        assert request(query=each.encode()).options


def path(text: str) -> None:
    percent_decoded(text.encode())


@pytest.mark.parametrize("parse", [accept, selector, query, path])
@settings(max_examples=30, phases=PHASES)
@given(pieces)
@example((JSON, ";q=0.5", f",{YAML}"))
@example(("tube in (", "a,", "a)"))
@example(("tube in (", " ", "a"))
@example(("a", "!", "="))
@example(("", "a,", ""))
@example(("", "a=%41&", ""))
@example(("a=", "-a", ""))
def test_time_is_linear(parse: Callable[[str], None], repeated: tuple[str, str, str]) -> None:
    before, piece, after = repeated
    assert is_linear(lambda size: parse(before + piece * (size // len(piece)) + after), SIZE)
