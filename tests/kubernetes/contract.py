"""Recorded requests, and whether a response agrees with the recorded one: in status, reason, content type and items.

Where beanscale differs on purpose, contract_differences.py says in what and why; everything else must agree.
"""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

HEADERS = (
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "retry-after",
    "vary",
    "x-content-type-options",
)
"""Recorded by value; of audit-id and etag it only matters that they are there."""

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


def structured(content: Any) -> Mapping[str, Any]:
    """JSON as it is, YAML parsed; of other text, nothing."""
    if isinstance(content, str):
        content = yaml.safe_load(content) if "kind: " in content else {}
    return content if isinstance(content, dict) else {}


def items(content: Any) -> list[tuple[str, Mapping[str, str], str]] | None:
    """The values of a list: name, labels and value; None where it is no list of values."""
    listed = structured(content)
    if listed.get("kind") != "ExternalMetricValueList":
        return None
    return [(item["metricName"], item["metricLabels"], item["value"]) for item in listed["items"]]


def deviations(recorded: Answer, ours: Answer) -> list[str]:
    """In what two answers differ: one line each."""
    compared = {
        "status": (recorded.status, ours.status),
        "reason": (structured(recorded.content).get("reason"), structured(ours.content).get("reason")),
        "content-type": (recorded.headers.get("content-type"), ours.headers.get("content-type")),
        "items": (items(recorded.content), items(ours.content)),
    }
    return [f"{what}: {got!r} instead of {wanted!r}" for what, (wanted, got) in compared.items() if got != wanted]
