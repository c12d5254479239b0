"""Jobs of a tube by what is in them, or just its newest: a walk back through the ids, which changes nothing.

beanstalkd lists no jobs, but it numbers them in order over all tubes, so the newest have the highest ids. `stats-job`
tells for each id whether there is such a job and in which tube; only those of the tube are peeked. Nothing is reserved.

Where the walk begins isn't told by any command. `total-jobs` counts the jobs put since the start: less than the newest
id where a binlog brought older jobs back (their ids stay, the counter starts at 0), or where puts broke off (their ids
are lost). The jobs that the tube would give next have ids at least. From the highest of these `newest` goes on upwards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum, auto

from app.beanstalkd.protocol import check_tube_name
from app.jobs.actions import Enough, Place, State
from app.jobs.client import DEFAULT_TUBE
from app.jobs.peek import FOUND, MOST_SHOWN, SEEN, SeenJob, Talk, seen, talking
from app.settings import Server

MOST_IDS = 20_000
"""Ids that are looked at in one go."""
MOST_HITS = 50
"""Jobs that are shown in one go."""
RUN = 64
"""Questions under way at once: their answers fit into any socket's buffers."""
FARTHEST = 1 << 26
"""Ids above those known where the newest is looked for."""

type Stats = Mapping[str, str]
type Highest = Callable[[range], int | None]
"""The highest id of a range that has a job, or None."""


class End(Enum):
    """Why a walk ended."""

    NO_JOBS = auto()
    """The tube holds none."""
    ALL = auto()
    """As many were seen as the tube holds."""
    FIRST_ID = auto()
    HITS = auto()
    IDS = auto()
    TIME = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a walk."""

    hits: tuple[SeenJob, ...]
    """Newest first, at most MOST_HITS."""
    top: int
    """The id that the walk began with."""
    looked: int
    """Ids looked at, from `top` downwards."""
    seen: int
    """Jobs of the tube among them."""
    cut: int
    """Those of them whose bodies are larger than the beginning that was searched."""
    held: int | None
    """Jobs that the tube held once `top` was known; None where the walk didn't begin at the newest."""
    end: End

    @property
    def before(self) -> int | None:
        """Where another walk goes on: with the ids below this one. None where nothing is left."""
        return self.top - self.looked + 1 if self.end in {End.HITS, End.IDS, End.TIME} else None


def find(place: Place, text: bytes, before: int | None, enough: Enough, most_ids: int = MOST_IDS) -> Found:
    """The newest jobs with an id below `before` whose body holds `text`, be its ASCII letters large or small.

    Only the first MOST_SHOWN bytes of a body are searched. Raises TubeNameError and BeanstalkdError.
    """
    check_tube_name(place.tube)
    with _looking(place.server, enough) as looking:
        if not looking.held(place.tube):
            return Found((), 0, 0, 0, 0, 0, End.NO_JOBS)
        top = before - 1 if before is not None else _newest(looking, place.tube)
        # counted once the top is known, so that none of those below it is missing; further down some are above
        held = looking.held(place.tube) if before is None and not enough() else None
        walk = _Walk(place.tube, text.lower(), top, held)
        return walk.found(walk.go(looking, most_ids))


def newest(highest: Highest, known: int) -> int:
    """The newest job's id, at least `known`; the truth where fewer than RUN ids in a row below it have no job.

    Looks at runs of ids at distances that halve, nearly the last of which is the next RUN ids.
    """
    step = FARTHEST
    while step >= RUN:
        found = highest(range(known + step - RUN + 1, known + step + 1))
        known, step = (known, step // 2) if found is None else (found, step)
    return known


def _newest(looking: "_Looking", tube: str) -> int:
    return newest(looking.highest, looking.known(tube))


class _Looking:
    """Questions on one connection, which is made anew rather than that the rest of a large body be read."""

    def __init__(self, server: Server, enough: Enough, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self.enough = enough
        self._talk: Talk = stack.enter_context(talking(server))

    def held(self, tube: str) -> int:
        """Jobs of the tube; none of one that isn't there."""
        told = self._stats(f"stats-tube {tube}")
        return sum(_whole(told, f"current-jobs-{state}") for state in State) if told is not None else 0

    def known(self, tube: str) -> int:
        """An id that the newest job has at least."""
        told = self._stats("stats")
        self._talk.expect(f"use {tube}", f"USING {tube}")
        heads = [self._peek(f"peek-{state}", tube) for state in SEEN]
        self._talk.expect(f"use {DEFAULT_TUBE}", f"USING {DEFAULT_TUBE}")  # a tube in use isn't forgotten
        return max(_whole(told or {}, "total-jobs"), *(head[0] for head in heads if head is not None), 0)

    def job(self, job_id: int, told: Stats) -> SeenJob | None:
        """With the beginning of its body; None where it is gone meanwhile."""
        found = self._peek(f"peek {job_id}", DEFAULT_TUBE)
        return None if found is None else seen(told, found[1], found[2])

    def highest(self, ids: range) -> int | None:
        """The highest with a job; None too where there is no time left."""
        told = self.stats_of(ids)
        if told is None:
            return None
        return max((each for each, stats in zip(ids, told, strict=True) if stats is not None), default=None)

    def stats_of(self, ids: range) -> Sequence[Stats | None] | None:
        """At most RUN jobs; None where time ended, after which the connection is of no use."""
        self._talk.send(f"stats-job {each}" for each in ids)
        answers: list[Stats | None] = []
        while len(answers) < len(ids):
            if self.enough():
                return None
            answers.append(self._talk.stats())
        return answers

    def _stats(self, command: str) -> Stats | None:
        self._talk.send([command])
        return self._talk.stats()

    def _peek(self, command: str, used: str) -> tuple[int, int, bytes] | None:
        """Id, size and beginning."""
        found = self._talk.ask(command, FOUND)
        if found is None:
            return None
        job_id, size = int(found[1]), int(found[2])
        beginning = self._talk.read(min(size, MOST_SHOWN))
        if size <= MOST_SHOWN:
            self._talk.read(len(b"\r\n"))
        else:
            self._connect_anew(used)
        return job_id, size, beginning

    def _connect_anew(self, used: str) -> None:
        self._stack.close()
        self._talk = self._stack.enter_context(talking(self._server))
        self._talk.expect(f"use {used}", f"USING {used}")


@contextmanager
def _looking(server: Server, enough: Enough) -> Iterator[_Looking]:
    with ExitStack() as stack:
        yield _Looking(server, enough, stack)


def _whole(told: Stats, field: str) -> int:
    if field not in told:
        raise ValueError(f"stats without {field}")
    return int(told[field])


class _Walk:
    """Downwards from `top`, until something ends it."""

    def __init__(self, tube: str, text: bytes, top: int, held: int | None) -> None:
        self._tube, self._text, self._top = tube, text, top
        self._held = held
        self._hits: list[SeenJob] = []
        self._looked = self._seen = self._cut = 0

    def go(self, looking: _Looking, most_ids: int) -> End:
        """So far, and why no farther."""
        for ids in _runs(self._top):
            told = looking.stats_of(ids)
            if told is None:
                return End.TIME
            for job_id, stats in zip(ids, told, strict=True):
                self._take(looking, job_id, stats)
                end = self._end(looking.enough, most_ids)
                if end is not None:
                    return end
        return End.FIRST_ID

    def _take(self, looking: _Looking, job_id: int, stats: Stats | None) -> None:
        self._looked += 1
        if stats is None or stats.get("tube") != self._tube:
            return
        self._seen += 1
        job = looking.job(job_id, stats)
        if job is None:
            return
        self._cut += job.size > len(job.beginning)
        if self._text in job.beginning.lower():
            self._hits.append(job)

    def _end(self, enough: Enough, most_ids: int) -> End | None:
        if self._held is not None and self._seen >= self._held:
            return End.ALL
        if self._looked == self._top:
            return End.FIRST_ID
        if len(self._hits) == MOST_HITS:
            return End.HITS
        if self._looked == most_ids:
            return End.IDS
        return End.TIME if enough() else None

    def found(self, end: End) -> Found:
        """What came of it."""
        return Found(tuple(self._hits), self._top, self._looked, self._seen, self._cut, self._held, end)


def _runs(top: int) -> Iterator[range]:
    for first in range(top, 0, -RUN):
        yield range(first, max(first - RUN, 0), -1)
