"""What a look for jobs tells: how far it went, and why no farther."""

from dataclasses import replace

import pytest

from app.console.jobs import beginning, found_json, told
from app.jobs.peek import SeenJob
from app.jobs.search import End, Found

JOB = SeenJob(7, "ready", "a", 1, 30, 0, 60, 0, 0, 0, 0, 0, 0, 2, b"hi")
FOUND = Found((JOB,), 20_010, 20_000, 3, 0, 5, End.IDS)


def holding(body: bytes, size: int | None = None) -> SeenJob:
    return replace(JOB, beginning=body, size=len(body) if size is None else size)


@pytest.mark.parametrize(
    ("found", "text", "sentence"),
    [
        pytest.param(
            FOUND,
            "hi",
            "1 job with this text among 3 of this tube. Looked at 20,000 ids of the server, from 20010 back to 11. It"
            " ended there because 20,000 ids are looked at in one go; there may be more.",
            id="many ids",
        ),
        pytest.param(
            replace(FOUND, looked=10, end=End.ALL),
            "",
            "1 job, newest first. Looked at 10 ids of the server, from 20010 back to 20001. That is every job that the"
            " tube held.",
            id="all of a tube",
        ),
        pytest.param(
            replace(FOUND, top=9, looked=9, cut=2, end=End.FIRST_ID),
            "hi",
            "1 job with this text among 3 of this tube. Looked at 9 ids of the server, from 9 back to 1. Of 2 jobs only"
            " the first 64 KiB were searched. That is as far back as ids go; 2 jobs more that the tube held are gone"
            " since, or far newer.",
            id="some not seen",
        ),
        pytest.param(
            replace(FOUND, hits=(), top=1, looked=1, seen=0, held=None, end=End.FIRST_ID),
            "",
            "No job of this tube. Looked at id 1. That is as far back as ids go.",
            id="one id",
        ),
        pytest.param(
            replace(FOUND, hits=(), looked=0, seen=0, end=End.TIME),
            "",
            "No job of this tube. No id was looked at. It ended there because a look takes 3 s at most; there may be"
            " more.",
            id="no time",
        ),
        pytest.param(Found((), 0, 0, 0, 0, 0, End.NO_JOBS), "hi", "Tube a holds no job.", id="nothing"),
    ],
)
def test_a_look_says_how_far_it_went_and_why_no_farther(found: Found, text: str, sentence: str) -> None:
    assert told(found, "a", text) == sentence


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
def test_a_job_is_shown_by_its_beginning(job: SeenJob, shown: str) -> None:
    assert beginning(job) == shown


def test_two_lines_of_a_dump_are_enough() -> None:
    assert beginning(holding(bytes(1000))).count("\n") == 1


def test_a_job_is_told_with_id_state_age_and_size_and_where_to_go_on() -> None:
    answer = found_json(FOUND, "a", "hi")
    assert answer["jobs"] == [{"id": "7", "state": "ready", "age": 30, "size": 2, "beginning": "hi"}]
    assert answer["before"] == "11"


def test_ids_are_texts_because_a_browser_rounds_large_numbers() -> None:
    newest = 2**64 - 1
    answer = found_json(replace(FOUND, hits=(replace(JOB, id=newest),), top=newest, looked=2), "a", "hi")
    assert (answer["jobs"][0]["id"], answer["before"]) == (str(newest), str(newest - 1))
