"""One server's readings, each made from the one before: by a sweep over all tubes, or by a round of a few. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from app.clock import Instant
from app.tubes.counters import RATE_WINDOW_S, Counters
from app.tubes.protocol import (
    NOT_FOUND,
    JobTotals,
    TubeStats,
    parse_draining,
    parse_hostname,
    parse_job_totals,
    parse_tube,
)
from app.tubes.snapshot import NextJob, Reading

_DEFAULT = "default"


class Answers:
    """To `stats-tube`, as they come: of two about one tube the later counts."""

    def __init__(self) -> None:
        self.tubes: dict[str, TubeStats] = {}
        self.missed: dict[str, Instant] = {}

    def take(self, answers: Iterable[tuple[bytes | None, str]], answered_at: Instant, ours: int) -> None:
        """Bodies, and the tubes they are about; `ours`: so many connections there are ours. Raises ProtocolError."""
        tubes, missed = self.tubes, self.missed
        for body, tube in answers:
            if body is NOT_FOUND:
                missed[tube] = answered_at
                tubes.pop(tube, None)
                continue
            stats = parse_tube(body, tube, answered_at)
            tubes[tube] = _without(ours, stats) if tube == _DEFAULT else stats
            if missed:
                missed.pop(tube, None)

    def update(self, later: "Answers") -> None:
        """Take over later ones."""
        for tube in later.missed:
            self.tubes.pop(tube, None)
        for tube in later.tubes:
            self.missed.pop(tube, None)
        self.tubes.update(later.tubes)
        self.missed.update(later.missed)


def _without(ours: int, tube: TubeStats) -> TubeStats:
    # every connection uses and watches `default` from its first moment: ours isn't a worker's
    return tube._replace(
        current_using=max(0, tube.current_using - ours), current_watching=max(0, tube.current_watching - ours)
    )


class _Said(NamedTuple):
    """What a life's `stats` last said."""

    server_id: str | None = None
    draining: bool | None = None
    jobs: JobTotals | None = None
    idle_since: Instant | None = None
    hostname: str | None = None


class Readings:
    """Of one server, over restarts and outages."""

    def __init__(self) -> None:
        self.latest: Reading | None = None
        """None too where it says nothing about what comes next."""
        self._said = _Said()
        self._counters = Counters()
        self._read_at: Instant | None = None

    def resume(self, now: Instant) -> None:
        """Reading starts, or starts again: what was known before a long outage makes no rates."""
        if self._read_at is None or self._read_at.age_s(now) > RATE_WINDOW_S:
            self.latest = None

    def hear(self, server_id: str, stats: bytes, now: Instant) -> None:
        """`stats` has answered: that holds for each reading of this life from now on."""
        jobs = parse_job_totals(stats, now)
        idle_since = self._said.idle_since if self._said.server_id == server_id else None
        if jobs is None or jobs.total_jobs is None or any(jobs.by_state):
            idle_since = None
        elif idle_since is None or self._said.jobs is None or self._said.jobs.total_jobs != jobs.total_jobs:
            idle_since = now
        self._said = _Said(server_id, parse_draining(stats), jobs, idle_since, parse_hostname(stats))

    def sweep(self, server_id: str, listed_at: Instant, answers: Answers, now: Instant) -> Reading:
        """All tubes of a listing have answered, or weren't there any more. Keeps `answers`."""
        before = self._of_the_same_life(server_id)
        swept = Reading.of(server_id, listed_at, answers.tubes, before)
        if before is None:
            self._counters = Counters()
        else:
            self._counters.follow(before, answers.tubes)
            swept = replace(swept, next_jobs=before.next_jobs)
        return self._take(replace(swept, missed=MappingProxyType(answers.missed)), None, now)

    def renew(self, answers: Answers, now: Instant) -> Reading:
        """Some tubes of the life that was read last have answered, or weren't there. Raises ValueError without one."""
        before = self._known()
        self._counters.follow(before, answers.tubes)
        tubes = {**before.tubes, **answers.tubes}
        for tube in answers.missed:
            tubes.pop(tube, None)
        missed = {tube: at for tube, at in before.missed.items() if tube not in answers.tubes} | answers.missed
        renewed = replace(
            Reading.of(before.server_id, before.listed_at, tubes, before),
            missed=MappingProxyType(missed),
            next_jobs=before.next_jobs,
        )
        return self._take(renewed, answers.tubes, now)

    def learn(self, next_jobs: Mapping[str, NextJob]) -> Reading:
        """The next jobs of those tubes whose were asked for. Raises ValueError where nothing was read yet."""
        self.latest = replace(self._known(), next_jobs=MappingProxyType(next_jobs))
        return self.latest

    def _of_the_same_life(self, server_id: str) -> Reading | None:
        return self.latest if self.latest and self.latest.server_id == server_id else None

    def _known(self) -> Reading:
        if self.latest is None:
            raise ValueError("no sweep came first")
        return self.latest

    def _take(self, reading: Reading, wanted: Iterable[str] | None, now: Instant) -> Reading:
        said = self._said if self._said.server_id == reading.server_id else _Said()
        self.latest = replace(
            reading,
            earlier=self._counters.earlier(reading.tubes),
            listed_earlier_at=self._counters.listed_earlier_at(reading.listed_at),
            draining=said.draining,
            jobs=said.jobs,
            idle_since=said.idle_since,
            hostname=said.hostname,
        )
        self._counters.keep(self.latest, wanted, now)
        self._read_at = now
        return self.latest
