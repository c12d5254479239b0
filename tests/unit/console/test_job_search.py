"""A search for jobs reports its range and why it ended."""

from dataclasses import replace

import pytest

from app.console.jobs import excerpt, search_json, summary
from app.jobs.peek import PeekedJob
from app.jobs.search import SearchResult, StopReason

JOB = PeekedJob(7, "ready", "a", 1, 30, 0, 60, 0, 0, 0, 0, 0, 0, 2, b"hi")
FOUND = SearchResult((JOB,), 20_010, 20_000, 3, 0, 5, StopReason.IDS)


def holding(body: bytes, size: int | None = None) -> PeekedJob:
    return replace(JOB, beginning=body, size=len(body) if size is None else size)


@pytest.mark.parametrize(
    ("found", "text", "sentence"),
    [
        pytest.param(
            FOUND,
            "hi",
            "Found in 1 of 3 jobs of this tube. Examined 20,000 IDs of the server, from 20010 down to 11."
            " Stopped at the limit of 20,000 IDs; there may be more.",
            id="many ids",
        ),
        pytest.param(
            replace(FOUND, examined=10, reason=StopReason.ALL),
            "",
            "1 job, newest first. Examined 10 IDs of the server, from 20010 down to 20001. These are all jobs of the"
            " tube.",
            id="all of a tube",
        ),
        pytest.param(
            replace(FOUND, top=9, examined=9, cut=2, reason=StopReason.FIRST_ID),
            "hi",
            "Found in 1 of 3 jobs of this tube. Examined 9 IDs of the server, from 9 down to 1. Only the first"
            " 64 KiB of 2 jobs were searched. No lower IDs exist. The tube had 2 more jobs: deleted meanwhile, or much"
            " newer.",
            id="some not seen",
        ),
        pytest.param(
            replace(FOUND, jobs=(), top=1, examined=1, seen=0, held=None, reason=StopReason.FIRST_ID),
            "",
            "No jobs in this tube. Examined ID 1. No lower IDs exist.",
            id="one id",
        ),
        pytest.param(
            replace(FOUND, jobs=(), examined=0, seen=0, reason=StopReason.TIME),
            "",
            "No jobs in this tube. No ID was examined. Stopped at the 3 s limit; there may be more.",
            id="no time",
        ),
        pytest.param(SearchResult((), 0, 0, 0, 0, 0, StopReason.NO_JOBS), "hi", "Tube a has no jobs.", id="nothing"),
    ],
)
def test_a_search_reports_its_range_and_why_it_ended(found: SearchResult, text: str, sentence: str) -> None:
    assert summary(found, "a", text) == sentence


@pytest.mark.parametrize(
    ("job", "shown"),
    [
        pytest.param(holding(b""), "", id="nothing"),
        pytest.param(holding(b'{"a": [1,\n 2]}'), '{ "a": [ 1, 2 ] }', id="JSON in one line"),
        pytest.param(holding(b"x" * 65536, 1 << 20), "x" * 200 + "…", id="a long text"),
        pytest.param(holding(b"x" * 200), "x" * 200, id="just short enough"),
        pytest.param(holding("é".encode() * 500), "é" * 200 + "…", id="half a character at the cut"),
        pytest.param(holding("a\u202eb".encode()), "a⟦U+202E⟧b", id="what turns the direction"),
        pytest.param(holding(b"\x00\x01"), "00000000  00 01" + " " * 45 + "|..|", id="binary"),
    ],
)
def test_a_job_is_listed_with_its_beginning(job: PeekedJob, shown: str) -> None:
    assert excerpt(job) == shown


def test_a_listed_dump_has_two_lines() -> None:
    assert excerpt(holding(bytes(1000))).count("\n") == 1


def test_a_job_is_listed_with_id_state_age_and_size_and_the_next_position() -> None:
    answer = search_json(FOUND, "a", "hi")
    assert answer["jobs"] == [{"id": "7", "state": "ready", "age": 30, "size": 2, "beginning": "hi"}]
    assert answer["before"] == "11"


def test_ids_are_strings_because_a_browser_rounds_large_numbers() -> None:
    newest = 2**64 - 1
    answer = search_json(replace(FOUND, jobs=(replace(JOB, id=newest),), top=newest, examined=2), "a", "hi")
    assert (answer["jobs"][0]["id"], answer["before"]) == (str(newest), str(newest - 1))
