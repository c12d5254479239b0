"""The age of the job that would be reserved next: `peek-ready` returns its id, `stats-job` its history.

The age is the time for which the job has been ready. beanstalkd doesn't report that, so there are two cases:
- A job that was never reserved or kicked is ready since its delay ended: `age` - `delay`.
- Any other was released (with a delay or not), buried and kicked, or lost by a worker that timed out or disconnected,
  at a time that no reply contains. It counts from when it was first seen to be the next one, which is a lower bound.
  Without a request for 5 minutes this is forgotten, and it counts from the next request on.
Both count from the end of the tube's last pause, or from the start of beanstalkd, if that came later. A binlog keeps
jobs over a restart, but no worker could take them meanwhile; the time before the restart is not added.

peek-ready refers to the used tube, and `use` creates a tube and keeps it alive. So each read has its own connection,
which ends at once, and covers only tubes that have ready jobs. A failure here keeps nothing else from being read.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import structlog

from app.beanstalkd.connection import Connection, connect, describe_error
from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import (
    MAX_STATS,
    NOT_FOUND,
    STATS,
    InvalidField,
    InvalidFieldError,
    ProtocolError,
    parse_field,
    parse_server_id,
    parse_stats,
)
from app.beanstalkd.reading import JobPass, NextJob, Reading
from app.clock import Instant
from app.ratelimit import backoff

MAX_JOB = 1 << 16
"""Bytes of a job that are read, only to reach the next reply: beanstalkd's default limit (option -z). Before a larger
job the connection is closed, and another one continues."""
TIMEOUT_S = 1.0
"""For all tubes together: the main connection waits meanwhile."""
BATCH = 16
MAX_SEEN = 16
"""Jobs remembered per tube, in case a more urgent one is next for a while."""

_log = structlog.get_logger()


class NextJobReader:
    """Reads the next jobs of the tubes whose ages are requested, from one server start."""

    def __init__(self, host: str, port: int, server_id: str, demand: Demand, clock: Callable[[], Instant]) -> None:
        self.lost_s = 0.0
        """Seconds spent on failed reads in total."""
        self._host = host
        self._port = port
        self._server_id = server_id
        self._demand = demand
        self._clock = clock
        self._delays = backoff()
        self._retry_at_s = 0.0
        self._error: str | None = None

    async def read(self, reading: Reading | None) -> Mapping[str, NextJob] | None:
        """Return the next job of each requested tube, the old one if reading failed; None if nothing is requested."""
        began = self._clock()
        tubes = self._demand.ages(began)
        if reading is None or not (tubes or reading.next_jobs):
            return None
        known: dict[str, NextJob] = {}
        ready = []
        for tube in tubes:
            stats = reading.tubes.get(tube)
            with suppress(InvalidFieldError):  # without a number of ready jobs, beanstalkd is asked for the next one
                if stats is None or not stats.current_jobs_ready:
                    known[tube] = NextJob(reading.answered_at(tube), None)
                    continue
            ready.append(tube)
            if tube in reading.next_jobs:
                known[tube] = reading.next_jobs[tube]
        if not ready or began.monotonic_s < self._retry_at_s:
            return known
        # the longest unread first, in case the time isn't enough for all
        ready.sort(key=lambda tube: known[tube].answered_at.monotonic_s if tube in known else 0.0)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self.read_ages(ready, known)
        except (OSError, ProtocolError) as failed:
            now = self._clock()
            self.lost_s += began.age_s(now)
            self._retry_at_s = now.monotonic_s + next(self._delays)
            error = describe_error(failed)
            if error != self._error:
                _log.warning("age of next jobs can't be read", address=f"{self._host}:{self._port}", error=error)
            self._error = error
        else:
            self._delays, self._error = backoff(), None
        return known

    async def read_ages(self, tubes: Sequence[str], known: dict[str, NextJob]) -> None:
        """Fill `known` as replies come, so that those before a failure count. Raises ProtocolError, OSError."""
        left, jobs = deque(tubes), dict[str, bytes]()
        while left or jobs:
            async with connect(self._host, self._port) as connection:
                stats = await connection.ask(STATS)
                if parse_server_id(stats) != self._server_id:
                    raise ProtocolError("is another beanstalkd on another connection to the same address")
                uptime_s = parse_field(parse_stats(stats), "uptime")
                usable = True
                while usable and (left or jobs):
                    await self._ages(connection, uptime_s, jobs, known)
                    usable = await self._find_jobs(connection, left, jobs, known)
                if usable:
                    await connection.closed_by_quit()

    async def _find_jobs(
        self, connection: Connection, left: deque[str], jobs: dict[str, bytes], known: dict[str, NextJob]
    ) -> bool:
        """Move a batch of tubes from `left` to `jobs` with the id of their next job, or to `known` if there is none.

        Return False if a job is too large, so that the connection is no longer usable. Raises ProtocolError, OSError.
        """
        batch = [tube.encode("ascii") for tube in islice(left, BATCH)]
        connection.send([command for tube in batch for command in (b"use %b\r\n" % tube, b"peek-ready\r\n")], MAX_JOB)
        for name in batch:
            using = await connection.reply()
            if (using.word, using.arguments) != (b"USING", (name,)):
                raise ProtocolError(f"answered {using.line!r} to use {name.decode()}", names_tube=True)
            found = await connection.reply()
            tube = left.popleft()
            if found is NOT_FOUND:
                known[tube] = NextJob(self._clock(), None)
                continue
            if found.word != b"FOUND" or len(found.arguments) != 1:
                raise ProtocolError(f"answered {found.line!r} to peek-ready", names_tube=True)
            jobs[tube] = found.arguments[0]
            if found.body is None:
                return False
        return True

    async def _ages(
        self,
        connection: Connection,
        uptime_s: int | InvalidField,
        jobs: dict[str, bytes],
        known: dict[str, NextJob],
    ) -> None:
        """Empty `jobs`; one that is gone before its age is read keeps what was known. Raises ProtocolError, OSError."""
        connection.send([b"stats-job %b\r\n" % job for job in jobs.values()], MAX_STATS)
        for tube, job in list(jobs.items()):
            reply = await connection.reply()
            del jobs[tube]
            if reply is NOT_FOUND:
                continue
            stats = parse_stats(reply.body or b"")
            if reply.word != b"OK" or stats.get("id") != job.decode():
                raise ProtocolError("answered stats-job without this job's age")
            known[tube] = next_job(stats, uptime_s, known.get(tube), self._clock())


def next_job(
    stats: Mapping[str, str], uptime_s: int | InvalidField, before: NextJob | None, answered_at: Instant
) -> NextJob:
    """Return a tube's next job from its stats-job reply. Pure. `before`: the tube's next job at the read before."""
    seen = before.seen if before else {}
    fields = [uptime_s, *(parse_field(stats, name) for name in ("age", "delay", "reserves", "kicks"))]
    numbers = [field for field in fields if isinstance(field, int)]
    if len(numbers) < len(fields):
        invalid = next(field for field in fields if isinstance(field, InvalidField))
        return NextJob(answered_at, None, seen, invalid)
    up_s, age_s, delay_s, reserves, kicks = numbers
    if not reserves and not kicks:
        return NextJob(answered_at, max(0, min(age_s - delay_s, up_s)), seen)
    now = JobPass(stats["id"], reserves, kicks)
    since = seen.get(now, answered_at)
    others = [(job, at) for job, at in seen.items() if job != now][1 - MAX_SEEN :]
    return NextJob(answered_at, max(0, min(int(since.age_s(answered_at)), up_s)), {**dict(others), now: since})
