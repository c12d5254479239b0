"""Answers to what was asked before, for as long as nothing new was read: autoscalers of one tube all ask alike."""

from collections.abc import Hashable
from dataclasses import dataclass

from starlette.responses import Response

from app.metrics.question import Evaluation
from app.tubes.snapshot import Snapshot

MOST_REMEMBERED = 256
"""Answers."""
MOST_BODY = 1 << 12
"""Bytes of one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    until_s: float
    """On the clock that only goes forward: then a reading in it is too old."""
    body: bytes
    media_type: str | None


class Remembered:
    """Those to one snapshot."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._answers: dict[Hashable, _Answer] = {}

    def answer(self, question: Hashable, given: Evaluation) -> Response | None:
        """The same as before, or None where it has to be found anew."""
        if given.snapshot is not self._snapshot:
            return None
        found = self._answers.get(question)
        if found is None or given.now.monotonic_s >= found.until_s:
            return None
        return Response(found.body, media_type=found.media_type)

    def keep(self, question: Hashable, given: Evaluation, response: Response, until_s: float) -> None:
        """For the next who asks, unless it is large."""
        if given.snapshot is not self._snapshot:
            self._snapshot, self._answers = given.snapshot, {}
        if len(response.body) <= MOST_BODY and len(self._answers) < MOST_REMEMBERED:
            self._answers[question] = _Answer(until_s, bytes(response.body), response.media_type)
