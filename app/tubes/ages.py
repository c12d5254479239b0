"""When and of which tubes the next job's age is asked for: where somebody wants it and jobs are ready, and no failure
there keeps anything else from being read."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog

from app.clock import Instant
from app.settings import Server
from app.tubes.demand import Demand
from app.tubes.next_job import Whom, ask_ages
from app.tubes.outage import because, retry_delays
from app.tubes.protocol import ProtocolError
from app.tubes.snapshot import NextJob, Reading

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
