"""How long the job has waited that would be reserved next. It is read only for tubes that somebody asks for."""

from typing import NamedTuple

from app.clock import Instant
from app.metrics.freshness import ReadServer, called
from app.metrics.outcome import StaleReadingError, TooFewReadingsError, TooManyTubesError
from app.metrics.question import Evaluation

MOST_AGES = 100
"""Tubes that one answer may ask it of: each takes two commands a second on a connection of their own."""


class Age(NamedTuple):
    """Of the next job, as beanstalkd gave it."""

    age_s: int
    """Whole seconds; 0 where no job is ready."""
    answered_at: Instant


def check_number_of_ages(metric: str, tubes: int) -> None:
    """Raises TooManyTubesError where one answer would be about more than MOST_AGES."""
    if tubes > MOST_AGES:
        raise TooManyTubesError(
            f"{metric} asks for the next job's age of {tubes:,} tubes, and at most {MOST_AGES} are answered at once;"
            " let it span fewer, or name some by a selector"
        )


def next_job_age(server: ReadServer, tube: str, given: Evaluation) -> Age:
    """Raises StaleReadingError and, where it hasn't been read yet, TooFewReadingsError."""
    stats = server.reading.tubes.get(tube)
    if stats is None or not stats.current_jobs_ready:
        return Age(0, server.reading.answered_at(tube))
    read = server.reading.next_jobs.get(tube)
    if read is None:
        raise TooFewReadingsError(
            f"the age of the next job in {given.told(tube)} of {called(server.state)} is only read for who asks for it;"
            " it is being read now: ask again in a second"
        )
    age_s = read.answered_at.age_s(given.now)
    if age_s > given.limit_s:
        raise StaleReadingError(
            f"the age of the next job in {given.told(tube)} of {called(server.state)} was last read {age_s:.0f} s ago,"
            f" older than {given.max_age_s:g} s isn't served; it is being read now: ask again in a second",
            age_s,
        )
    return Age(read.age_s or 0, read.answered_at)
