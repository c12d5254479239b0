"""The age of the job that would be reserved next: `peek-ready` names it, `stats-job` knows when it was put.

peek-ready speaks of the used tube, and `use` makes a tube and keeps it. So this is asked on a connection of its own,
which ends at once, and only about tubes that have ready jobs.

When and of which tubes the next job's age is asked for: where somebody wants it and jobs are ready, and no failure
there keeps anything else from being read.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import NamedTuple

import structlog

from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import MAX_STATS, STATS, ProtocolError, parse_server_id
from app.beanstalkd.reading import NextJob, Reading
from app.beanstalkd.retry import because, retry_delays
from app.clock import Instant
from app.settings import Server

MOST_BODY = 1 << 16
"""Bytes of a job that are read, only to get at the next answer: beanstalkd's own limit, unless it was told otherwise
(option -z). Before a larger job the connection is dropped, and another one asks on."""
TIMEOUT_S = 1.0
"""For everything that is asked at once: the main connection waits meanwhile."""
_AT_ONCE = 16

_FOUND = re.compile(rb"FOUND (\d{1,20}) (\d{1,10})\r\n")
_OK = re.compile(rb"OK (\d{1,5})\r\n")
_AGE = re.compile(rb"^age: (\d{1,10})$", re.MULTILINE)
_ID = re.compile(rb"^id: (\d{1,20})$", re.MULTILINE)
_NOT_FOUND = b"NOT_FOUND\r\n"


class Whom(NamedTuple):
    """Which beanstalkd is asked."""

    host: str
    """An IP address."""
    port: int
    server_id: str
    """Behind one address there may be several, as behind a Service: only of this one an age is believed."""


async def ask_ages(whom: Whom, tubes: Iterable[str], clock: Callable[[], Instant], found: dict[str, NextJob]) -> None:
    """Fill `found` as answers come, so that those before a failure count; a job that is gone before its age is told is
    left out. Raises ProtocolError, TimeoutError, OSError."""
    asking = _Asking(tubes, clock, found)
    async with asyncio.timeout(TIMEOUT_S):
        while asking:
            async with _connect(whom) as talk:
                await asking.on(talk)


class _Talk:
    """One connection, and the answers that it gives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.usable = True

    def say(self, *commands: bytes) -> None:
        self._writer.write(b"".join(commands))

    async def line(self) -> bytes:
        return await self._reader.readuntil(b"\r\n")

    async def body(self, size: int) -> bytes:
        return await self._reader.readexactly(size + 2)

    async def stats(self, command: str) -> bytes | None:
        """The body of the answer to a command that asks for some; None: NOT_FOUND."""
        line = await self.line()
        if line == _NOT_FOUND:
            return None
        size = _OK.fullmatch(line)
        if size is None or int(size[1]) > MAX_STATS:
            raise _unexpected(line, command)
        return await self.body(int(size[1]))

    async def leave(self) -> None:
        """Come back once beanstalkd has let go too: from then on no tube has this connection."""
        self.say(b"quit\r\n")
        while await self._reader.read(MAX_STATS):
            pass


@asynccontextmanager
async def _connect(whom: Whom) -> AsyncIterator[_Talk]:
    reader, writer = await asyncio.open_connection(whom.host, whom.port, limit=MOST_BODY)
    try:
        talk = _Talk(reader, writer)
        talk.say(STATS)
        if parse_server_id(await talk.stats("stats") or b"") != whom.server_id:
            raise ProtocolError("another connection to the same address leads to another beanstalkd")
        yield talk
        if talk.usable:
            await talk.leave()
    except asyncio.IncompleteReadError as error:
        raise ProtocolError("closed the connection instead of answering") from error
    except asyncio.LimitOverrunError as error:
        raise ProtocolError("an answer's first line doesn't end; is this a beanstalkd?") from error
    finally:
        writer.transport.abort()


class _Asking:
    """What is still to be asked, over several connections if need be."""

    def __init__(self, tubes: Iterable[str], clock: Callable[[], Instant], found: dict[str, NextJob]) -> None:
        self._tubes = deque(tubes)
        self._jobs: dict[str, bytes] = {}
        self._clock = clock
        self._found = found

    def __bool__(self) -> bool:
        return bool(self._tubes or self._jobs)

    async def on(self, talk: _Talk) -> None:
        """Ask as much as this connection is good for."""
        await self._ages(talk)
        while self._tubes and talk.usable:
            await self._next_jobs(talk)
            if talk.usable:
                await self._ages(talk)

    async def _next_jobs(self, talk: _Talk) -> None:
        some = list(islice(self._tubes, _AT_ONCE))
        talk.say(*(b"use %b\r\npeek-ready\r\n" % tube.encode("ascii") for tube in some))
        for tube in some:
            await self._next_job(talk, tube)
            self._tubes.popleft()
            if not talk.usable:
                break

    async def _next_job(self, talk: _Talk, tube: str) -> None:
        line = await talk.line()
        if line != b"USING %b\r\n" % tube.encode("ascii"):
            raise _unexpected(line, f"use {tube}")
        line = await talk.line()
        if line == _NOT_FOUND:
            self._found[tube] = NextJob(self._clock(), None)
            return
        job = _FOUND.fullmatch(line)
        if job is None:
            raise _unexpected(line, "peek-ready")
        self._jobs[tube] = job[1]
        if int(job[2]) > MOST_BODY:
            talk.usable = False
        else:
            await talk.body(int(job[2]))

    async def _ages(self, talk: _Talk) -> None:
        talk.say(*(b"stats-job %b\r\n" % job for job in self._jobs.values()))
        for tube, job in list(self._jobs.items()):
            age_s = await _age_s(talk, job)
            del self._jobs[tube]
            if age_s is not None:
                self._found[tube] = NextJob(self._clock(), age_s)


async def _age_s(talk: _Talk, job: bytes) -> int | None:
    """None where the job is gone."""
    body = await talk.stats("stats-job")
    if body is None:
        return None
    answered, age = _ID.search(body), _AGE.search(body)
    if answered is None or answered[1] != job or age is None:
        raise ProtocolError(f"the answer about job {job.decode()} names another one, or has no age")
    return int(age[1])


def _unexpected(line: bytes, command: str) -> ProtocolError:
    return ProtocolError(f"answered {line[:80].strip().decode('ascii', 'backslashreplace')!r} to {command}")


_log = structlog.get_logger()


class Ages:
    """Of one address."""

    def __init__(self, server: Server, host: str, demand: Demand, clock: Callable[[], Instant]) -> None:
        self._server = server
        self._host = host
        self._demand = demand
        self._clock = clock
        self._delays = retry_delays()
        self._again_at_s = 0.0
        self._complaint: str | None = None
        self.lost_s = 0.0
        """How long was waited in vain, in all: no time that beanstalkd spent on us."""

    async def ask(self, reading: Reading | None) -> Mapping[str, NextJob] | None:
        """The next jobs as they are known now: of a failure the older ones are left. None: nothing is new."""
        now = self._clock()
        wanted = self._demand.ages(now)
        if reading is None or not (wanted or reading.next_jobs):
            return None
        known = dict(_known(reading, wanted))
        ready = sorted((tube for tube in wanted if _is_ready(reading, tube)), key=_last_asked_s(known))
        if ready and now.monotonic_s >= self._again_at_s:
            await self._ask(Whom(self._host, self._server.port, reading.server_id), ready, known)
        return known

    async def _ask(self, whom: Whom, tubes: list[str], found: dict[str, NextJob]) -> None:
        began = self._clock()
        try:
            await ask_ages(whom, tubes, self._clock, found)
        except (OSError, ProtocolError) as error:
            self.lost_s += began.age_s(self._clock())
            self._fail(because(error) if isinstance(error, OSError) else str(error))
        else:
            self._delays, self._complaint = retry_delays(), None

    def _fail(self, complaint: str) -> None:
        self._again_at_s = self._clock().monotonic_s + next(self._delays)
        if complaint != self._complaint:
            _log.warning(
                "can't ask for the age of next jobs", server=self._server.name, address=self._host, reason=complaint
            )
        self._complaint = complaint


def _is_ready(reading: Reading, tube: str) -> bool:
    return tube in reading.tubes and reading.tubes[tube].current_jobs_ready > 0


def _known(reading: Reading, tubes: Iterable[str]) -> Iterator[tuple[str, NextJob]]:
    """What needs no question, and what was answered before."""
    for tube in tubes:
        if not _is_ready(reading, tube):
            yield tube, NextJob(reading.answered_at(tube), None)
        elif tube in reading.next_jobs:
            yield tube, reading.next_jobs[tube]


def _last_asked_s(known: Mapping[str, NextJob]) -> Callable[[str], float]:
    return lambda tube: known[tube].answered_at.monotonic_s if tube in known else 0.0
