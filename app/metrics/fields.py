"""The fields of a tube that metrics and formulas can use, by short names, with their units."""

from collections.abc import Callable, Mapping
from operator import attrgetter

from app.beanstalkd.protocol import InvalidFieldError, PartialTubeStats, TubeStats

COUNTED: Mapping[str, Callable[[TubeStats], int]] = {
    "ready": attrgetter("current_jobs_ready"),
    "reserved": attrgetter("current_jobs_reserved"),
    "delayed": attrgetter("current_jobs_delayed"),
    "buried": attrgetter("current_jobs_buried"),
    "urgent": attrgetter("current_jobs_urgent"),
    "using": attrgetter("current_using"),
    "watching": attrgetter("current_watching"),
    "waiting": attrgetter("current_waiting"),
    "total": attrgetter("total_jobs"),
    "deleted": attrgetter("cmd_delete"),
    "pauses": attrgetter("cmd_pause_tube"),
}
"""Summed over tubes and servers; a missing tube has 0."""

TIMES: Mapping[str, Callable[[TubeStats], int]] = {
    "pause": attrgetter("pause"),
    "pause_left": lambda stats: max(0, stats.pause_time_left),  # below 0 for a moment when a pause ends
}
"""Whole seconds, of several tubes or servers the longest."""


def number_of(field: str, stats: TubeStats | None) -> int | None:
    """Return a field of COUNTED or TIMES: 0 of a tube that doesn't exist, None if the field is invalid."""
    try:
        return (COUNTED.get(field) or TIMES[field])(stats) if stats else 0
    except InvalidFieldError:
        return None


def is_paused(stats: TubeStats | None) -> bool:
    """Return whether the tube is known to be paused: not if it doesn't exist or that field is invalid."""
    try:
        return stats is not None and stats.is_paused
    except InvalidFieldError:
        return False


def invalid_fields(stats: TubeStats | None) -> Mapping[str, str]:
    """Return why each invalid field of COUNTED and TIMES is invalid: a clause that begins with beanstalkd's name."""
    invalid: dict[str, str] = {}
    if not isinstance(stats, PartialTubeStats):
        return invalid
    for name, number in (*COUNTED.items(), *TIMES.items()):
        try:
            number(stats)
        except InvalidFieldError as error:
            invalid[name] = f"{error.invalid.name}: {error.invalid.problem}"
    return invalid


RATES = frozenset({"put_per_second", "deleted_per_second"})
"""Growth of counters over the rate window, summed."""

NEXT_JOB_AGE = "next_job_age_seconds"
"""Whole seconds for which the next job could have been taken, of several the longest; 0 if none can be."""

FIELDS = frozenset({*COUNTED, *TIMES, *RATES, NEXT_JOB_AGE})
"""Names that a formula can use, of a tube's numbers (beanstalkd's doc/protocol.txt, stats-tube)."""

HELD_BACK = frozenset({"ready", "urgent", "delayed", "buried", "put_per_second", NEXT_JOB_AGE})
"""Fields about jobs that no worker can reserve while their tube is paused."""

UNITS: Mapping[str, str] = {
    **dict.fromkeys(COUNTED, "jobs"),
    "using": "producers",
    "watching": "workers",
    "waiting": "workers",
    "pauses": "pauses",
    **dict.fromkeys(TIMES, "seconds"),
    **dict.fromkeys(RATES, "jobs/s"),
    NEXT_JOB_AGE: "seconds",
}
"""Unit of each field."""
