"""The metrics that need no rule: names, meanings and fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.metrics.fields import NEXT_JOB_AGE
from app.metrics.formula import parse_formula
from app.metrics.rules import Glob, Label, Rule

TUBE_PREFIX = "tube-"
TUBE_JOBS = "beanstalkd_tube_jobs"
STATES = ("ready", "reserved", "delayed", "buried")
"""Values of the label `state`, each the name of a field; the states don't overlap."""
ALL_TUBES = Glob(("*",))


@dataclass(frozen=True, slots=True)
class PerTube:
    """A metric with a value for each server and tube, or several that differ in a label."""

    name: str
    meaning: str
    """A sentence."""
    fields: Sequence[str]
    label: str | None = None
    """With several fields: the label whose value is the field's name."""


PER_TUBE: Mapping[str, PerTube] = {
    metric.name: metric
    for metric in (
        PerTube(TUBE_JOBS, "Jobs in a tube of one beanstalkd, by state.", STATES, "state"),
        PerTube("beanstalkd_tube_urgent_jobs", "Ready jobs of a priority below 1024 in a tube.", ("urgent",)),
        PerTube("beanstalkd_tube_workers_waiting", "Connections that wait for a job of a tube.", ("waiting",)),
        PerTube("beanstalkd_tube_workers_watching", "Connections that watch a tube.", ("watching",)),
        PerTube("beanstalkd_tube_producers_using", "Connections that use a tube, to put jobs into it.", ("using",)),
        PerTube("beanstalkd_tube_jobs_put_per_second", "Jobs put into a tube per second.", ("put_per_second",)),
        PerTube(
            "beanstalkd_tube_jobs_deleted_per_second", "Jobs deleted from a tube per second.", ("deleted_per_second",)
        ),
        PerTube(
            "beanstalkd_tube_next_job_age_seconds",
            "Seconds for which the job that would be reserved next could have been taken; of several tubes and servers,"
            " the longest. 0 if there is none.",
            (NEXT_JOB_AGE,),
        ),
    )
}
"""By name."""


DRAIN = Rule(
    "beanstalkd_tube_drain_seconds",
    ALL_TUBES,
    parse_formula("(ready + reserved) / deleted_per_second"),
    per=frozenset({Label.TUBE}),
)
"""The built-in metric that is computed like an operator's rule, by DrainMetric."""
DRAIN_MEANING = (
    "Seconds until a tube is empty at the present pace of deletions, over all servers; of several tubes, the longest."
)
NAMES = (TUBE_JOBS, *sorted({*PER_TUBE, DRAIN.name} - {TUBE_JOBS}))
"""Of all built-in metrics but `tube-…`; the first one is an example in errors."""
