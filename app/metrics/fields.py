"""What a rule's formula may name: a tube's numbers by their short names (beanstalkd's doc/protocol.txt, stats-tube)."""

from collections.abc import Callable, Mapping
from operator import attrgetter

from app.tubes.protocol import TubeStats

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
"""Of several tubes or servers the sum counts, and one that doesn't exist has 0."""

TIMES: Mapping[str, Callable[[TubeStats], int]] = {
    "pause": attrgetter("pause"),
    "pause_left": attrgetter("pause_time_left"),
}
"""Whole seconds: of several tubes or servers the longest counts."""

RATES = frozenset({"put_per_second", "deleted_per_second"})
"""Counters' pace over the rates' window; summed."""

NEXT_JOB_AGE = "next_job_age_seconds"
"""Whole seconds: of several the longest; 0 where no job is ready."""

NAMES = frozenset({*COUNTED, *TIMES, *RATES, NEXT_JOB_AGE})
"""All of them."""
