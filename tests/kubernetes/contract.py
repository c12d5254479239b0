"""Recorded requests, and whether an answer is the recorded one: in status, headers that matter, and body.

Where beanscale differs on purpose, contract_differences.py says in what and why; everything else must be alike.
"""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HEADERS = (
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "retry-after",
    "vary",
    "x-content-type-options",
)
"""Compared by value; of audit-id and etag it only matters that they are there."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_OWN_ADDRESS = re.compile(r'("serverAddress": ?"|serverAddress: ):\d+')


@dataclass(frozen=True)
class Case:
    """One line of a recording."""

    name: str
    method: str
    path: str
    """A character a byte, as in header values."""
    headers: Mapping[str, str | list[str]]
    """A list where the name comes several times; without `Host` there is one all the same, an empty list is none."""
    certificate: str | None
    body: Any
    """Text is sent as it is, and all that it needs in the head is in `headers`; anything else as JSON."""
    answer: "Answer"
    version: str = "HTTP/1.1"


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: Any
    """JSON taken apart, other text as it is; times and the server's own port masked."""

    @classmethod
    def of(cls, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> "Answer":
        by_name = {name.lower(): value for name, value in headers}  # of several the last, as in the recordings
        if by_name.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        text = _TIME.sub("TIME", body.decode("utf-8", "replace"))
        text = _OWN_ADDRESS.sub(r"\1:PORT", text)
        return cls(status, by_name, _parsed(text) if "json" in by_name.get("content-type", "") else text)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # nothing, or the beginning of a long document
        return text


def read_cases(recording: Path) -> list[Case]:
    return [case_of(json.loads(line)) for line in recording.read_text().splitlines()]


def case_of(line: Any) -> Case:
    """A line of a recording, with or without its answer."""
    request, answer = line["request"], line.get("answer") or {"status": 0, "headers": {}, "text": ""}
    content = json.dumps(answer["json"]) if "json" in answer else answer["text"]
    headers = [(name, value) for name, value in answer["headers"].items() if name != "content-encoding"]
    recorded = Answer.of(answer["status"], headers, content.encode())
    return Case(
        name=line["case"],
        method=request["method"],
        path=request["path"],
        headers=request["headers"],
        certificate=request["cert"],
        body=request["body"],
        answer=replace(recorded, headers={**answer["headers"]}),
        version=request.get("version", "HTTP/1.1"),
    )


def deviations(recorded: Answer, ours: Answer) -> list[str]:
    """In what two answers differ: one line each."""
    found = []
    if recorded.status != ours.status:
        found.append(f"status {ours.status} instead of {recorded.status}")
    found += [
        f"{name}: {ours.headers.get(name)!r} instead of {recorded.headers.get(name)!r}"
        for name in HEADERS
        if recorded.headers.get(name) != ours.headers.get(name)
    ]
    found += [
        f"{name}: {'none' if name in recorded.headers else 'unexpected'}"
        for name in ("audit-id", "etag")
        if (name in recorded.headers) != (name in ours.headers)
    ]
    if recorded.content != ours.content:
        found.append(f"body {_short(ours.content)} instead of {_short(recorded.content)}")
    return found


def _short(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return text if len(text) < 600 else text[:600] + "…"
