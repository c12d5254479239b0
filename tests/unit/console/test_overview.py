"""All tubes on one page: found, sorted, paged; what isn't known says so, and what is gone stays with zeros."""

from dataclasses import replace
from typing import Any

import pytest

from app.beanstalkd.reading import Counts, Snapshot
from app.console.autoscalers import AutoscalerLink
from app.console.errors import RequestError
from app.console.history import POINTS, PastTubes
from app.console.overview import MAX_SIZE, Query, overview, parse_query
from app.metrics.formula import parse_formula
from app.metrics.rules import Glob, Rule, Rules
from app.settings import ObjectName, Server
from tests.unit.console.moments import at, sampled, server, tube, unread, view

NUMBERS = ("ready", "reserved", "delayed", "buried", "urgent", "using", "watching", "waiting", "pauseLeft")


def names(answer: dict[str, Any]) -> list[str]:
    return [row["tube"] for row in answer["tubes"]]


def test_a_row_has_a_tubes_numbers_and_their_age() -> None:
    answer = overview(view(server(tube(ready=3, reserved=2, delayed=1, buried=4)), second=2), Query())
    row = answer["tubes"][0]
    assert (row["ready"], row["reserved"], row["delayed"], row["buried"]) == (3, 2, 1, 4)
    assert (row["server"], row["tube"], row["ageSeconds"], row["fresh"], row["gone"]) == (
        "eu",
        "orders",
        2,
        True,
        False,
    )
    assert answer["servers"][0]["up"] is True


def test_while_a_server_cant_be_read_its_tubes_are_unknown_and_never_zero() -> None:
    answer = overview(view(server(tube(ready=3), failure="connection refused"), second=16), Query())
    row = answer["tubes"][0]
    assert [row[number] for number in NUMBERS] == [None] * len(NUMBERS)
    assert (row["fresh"], row["gone"], row["putPerSecond"], row["notes"]) == (
        False,
        False,
        None,
        ["unknown"],
    )
    data = answer["servers"][0]
    assert (data["up"], data["failure"], data["ageSeconds"]) == (False, "connection refused", 16)


def test_a_server_never_read_has_the_reason() -> None:
    answer = overview(view(unread()), Query())
    assert answer["tubes"] == []
    data = answer["servers"][0]
    assert (data["up"], data["ageSeconds"], data["tubes"], data["failure"]) == (False, None, None, "connection refused")


def test_past_tubes_stay_with_zeros() -> None:
    past = PastTubes()
    past.sample(Snapshot((server(tube("kept"), tube("left", ready=1)),)))
    now = server(tube("kept"), second=1)
    past.sample(Snapshot((now,)))
    answer = overview(view(now, second=1, past=past), Query())
    gone = next(row for row in answer["tubes"] if row["tube"] == "left")
    assert (gone["gone"], gone["ready"], gone["fresh"], gone["notes"]) == (True, 0, True, ["no-tube"])
    assert names(overview(view(now, second=1, past=past), Query(gone=False))) == ["kept"]


def test_a_tube_that_is_back_isnt_gone() -> None:
    past = PastTubes()
    for tubes in ([tube()], [], [tube()]):
        past.sample(Snapshot((server(*tubes),)))
    assert dict(past.of(Server("eu", "eu.example", 11300))) == {}


def test_past_tubes_are_limited_and_the_oldest_are_dropped() -> None:
    past = PastTubes(limit=2)
    for number in range(5):
        past.sample(Snapshot((server(tube(f"run-{number}")),)))
    assert list(past.of(Server("eu", "eu.example", 11300))) == ["run-2", "run-3"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        pytest.param("-ready", ["many", "some", "none", "a-stale"], id="most first"),
        pytest.param("ready", ["none", "some", "many", "a-stale"], id="fewest first, unknown last all the same"),
        pytest.param("tube", ["a-stale", "many", "none", "some"], id="by name"),
        pytest.param("-tube", ["some", "none", "many", "a-stale"], id="by name, backwards"),
        pytest.param("server", ["many", "none", "some", "a-stale"], id="by server, then by name"),
        pytest.param("putPerSecond", ["many", "none", "some", "a-stale"], id="what isn't known yet, by name"),
    ],
)
def test_tubes_are_sorted_by(sort: str, order: list[str]) -> None:
    known = server(tube("none"), tube("many", ready=9), tube("some", ready=2), second=20)
    stale = server(tube("a-stale", ready=5), name="us")
    assert names(overview(view(known, stale, second=20), parse_query({"sort": sort}))) == order


def test_rates_of_a_window_without_length_are_unknown_and_last() -> None:
    state = server(tube("orders"), tube("mail"), second=5)
    assert state.reading is not None
    earlier = {"orders": Counts(at(4), 0, 0), "mail": Counts(at(5), 0, 0)}
    reading = replace(state.reading, earlier=earlier, listed_earlier_at=at(5))
    past = PastTubes()
    past.sample(Snapshot((server(tube("gone"), tube("mail"), tube("orders")),)))
    past.sample(Snapshot((state,)))
    given = view(replace(state, reading=reading), second=5, past=past)
    assert names(overview(given, parse_query({"sort": "putPerSecond"}))) == ["orders", "mail", "gone"]


def test_a_prefix_is_sorted_first_and_in_reverse_last() -> None:
    state = server(tube("mail"), tube("mail-out"))
    assert names(overview(view(state), parse_query({"sort": "tube"}))) == ["mail", "mail-out"]
    assert names(overview(view(state), parse_query({"sort": "-tube"}))) == ["mail-out", "mail"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        pytest.param("", ["Orders", "mail"], id="nothing finds all"),
        pytest.param("ORD", ["Orders"], id="in any case"),
        pytest.param("eu ma", ["mail"], id="words of server and tube"),
        pytest.param("<script>", [], id="markup is text like any other"),
        pytest.param(".*", [], id="no pattern"),
    ],
)
def test_a_search_finds(search: str, found: list[str]) -> None:
    state = server(tube("Orders"), tube("mail"))
    assert names(overview(view(state), Query(q=search, sort="tube", descending=False))) == found


def test_pages_have_each_tube_once_and_beyond_the_last_is_the_last() -> None:
    state = server(*(tube(f"tube-{number}", ready=number % 3) for number in range(25)))
    pages = [overview(view(state), Query(page=page, size=10)) for page in (1, 2, 3)]
    assert len({name for page in pages for name in names(page)}) == 25
    assert [(page["page"], page["pages"], page["total"]) for page in pages] == [(1, 3, 25), (2, 3, 25), (3, 3, 25)]
    beyond = overview(view(state), Query(page=9, size=10))
    assert (beyond["page"], names(beyond)) == (3, names(pages[2]))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"sort": "-nothing"}, id="sorted by nothing there is"),
        pytest.param({"sort": "--ready"}, id="twice backwards"),
        pytest.param({"page": "0"}, id="no page"),
        pytest.param({"page": "-1"}, id="a page before the first"),
        pytest.param({"page": "²"}, id="a digit that is none"),
        pytest.param({"page": "9" * 5000}, id="a number without end"),
        pytest.param({"size": str(MAX_SIZE + 1)}, id="too much at once"),
        pytest.param({"size": ""}, id="nothing"),
        pytest.param({"q": "x" * 201}, id="a search without end"),
    ],
)
def test_an_invalid_query_is_one_sentence(given: dict[str, str]) -> None:
    with pytest.raises(RequestError) as error:
        parse_query(given)
    assert len(str(error.value)) < 250


def test_a_query_is_returned_as_sent() -> None:
    asked = {"q": "a b", "sort": "-buried", "page": "1", "size": "20", "gone": "0"}
    assert overview(view(), parse_query(asked))["query"] == {
        "q": "a b",
        "sort": "-buried",
        "page": 1,
        "size": 20,
        "gone": 0,
    }


def test_a_row_names_the_autoscalers_that_use_its_tube() -> None:
    name = ObjectName("shop", "orders")
    linked = replace(
        view(server(tube("orders"), tube("mail"))),
        links=[AutoscalerLink(name, Glob(("ord*",)), frozenset({"eu"}), ignores_paused=False)],
    )
    rows = {row["tube"]: row["autoscalers"] for row in overview(linked, Query())["tubes"]}
    assert rows == {"orders": [{"namespace": "shop", "name": "orders", "ignoresPaused": False}], "mail": []}


@pytest.mark.parametrize(
    ("stats", "notes"),
    [
        pytest.param(tube(), [], id="nothing to say"),
        pytest.param(tube(pause_left=30), ["paused"], id="paused"),
        pytest.param(tube(ready=1, watching=0), ["no-watchers"], id="no worker watches"),
        pytest.param(tube(watching=0), [], id="no worker watches an empty tube"),
        pytest.param(tube(delayed=1), ["only-delayed"], id="all later"),
        pytest.param(tube(delayed=1, reserved=1), [], id="some now"),
        pytest.param(tube(buried=2), ["buried-jobs"], id="buried"),
    ],
)
def test_a_row_has_notes(stats: Any, notes: list[str]) -> None:
    assert overview(view(server(stats)), Query())["tubes"][0]["notes"] == notes


def test_a_row_notes_a_tube_that_requires_a_rule_until_there_is_one() -> None:
    unnamed = view(server(tube("mail/eu", buried=1)))
    assert overview(unnamed, Query())["tubes"][0]["notes"] == ["buried-jobs", "needs-rule"]
    named = replace(unnamed, rules=Rules({"mail": Rule("mail", Glob(("mail/*",)), parse_formula("ready"))}))
    assert overview(named, Query())["tubes"][0]["notes"] == ["buried-jobs"]


def test_a_row_has_a_sparkline() -> None:
    history = sampled(*((server(tube(ready=turn), second=turn * 5),) for turn in range(3)))
    answer = overview(view(server(tube(ready=2), second=10), second=10, history=history), Query())
    assert answer["tubes"][0]["spark"] == [0, 1, 2]
    assert len(answer["tubes"][0]["spark"]) < POINTS
    assert answer["now"] == at(10).unix_s
