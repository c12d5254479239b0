"""The metrics that need no rule: what each is called, says and has for labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from app.metrics.rules import NEXT_JOB_AGE, FormulaError, Glob, Label, Rule
from app.quantity import show_number

TUBE_PREFIX = "tube-"
TUBE_JOBS = "beanstalkd_tube_jobs"
STATES = ("ready", "reserved", "delayed", "buried")
"""Values of the `state` label, each a field's name; the states don't overlap."""
ALL_TUBES = Glob(("*",))


@dataclass(frozen=True, slots=True)
class Signal:
    """One number of each tube on each server, or several that a label tells apart."""

    name: str
    meaning: str
    """A sentence."""
    fields: Sequence[str]
    label: str | None = None
    """Where there are several: the label whose value is the field's name."""


_SIGNALS = (
    Signal(TUBE_JOBS, "Jobs in a tube of one beanstalkd, by state.", STATES, "state"),
    Signal("beanstalkd_tube_urgent_jobs", "Ready jobs of a priority below 1024 in a tube.", ("urgent",)),
    Signal("beanstalkd_tube_workers_waiting", "Connections that wait for a job of a tube.", ("waiting",)),
    Signal("beanstalkd_tube_workers_watching", "Connections that watch a tube.", ("watching",)),
    Signal("beanstalkd_tube_producers_using", "Connections that use a tube, to put jobs into it.", ("using",)),
    Signal("beanstalkd_tube_jobs_put_per_second", "Jobs put into a tube per second.", ("put_per_second",)),
    Signal("beanstalkd_tube_jobs_deleted_per_second", "Jobs deleted from a tube per second.", ("deleted_per_second",)),
    Signal(
        "beanstalkd_tube_next_job_age_seconds",
        "Age in seconds of the job that would be reserved next; 0 where no job is ready.",
        (NEXT_JOB_AGE,),
    ),
)
SIGNALS: Mapping[str, Signal] = {signal.name: signal for signal in _SIGNALS}
"""By name."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A Formula: fields added up."""

    text: str
    fields: frozenset[str]

    @classmethod
    def of(cls, *fields: str) -> "Sum":
        """Of fields by their names."""
        return cls(" + ".join(fields), frozenset(fields))

    def value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Their sum."""
        return sum((fields[name] for name in self.text.split(" + ")), Fraction(0))

    def shown(self, fields: Mapping[str, Fraction]) -> str:
        """With numbers in their places."""
        return " + ".join(show_number(fields[name]) for name in self.text.split(" + "))


class DrainTime:
    """A Formula: how long until a tube is empty at the present pace."""

    text = "(ready + reserved) / deleted_per_second"
    fields = frozenset({"ready", "reserved", "deleted_per_second"})

    def value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Seconds; none where nothing waits. Raises FormulaError where no job was deleted yet, which isn't for ever."""
        jobs, pace = fields["ready"] + fields["reserved"], fields["deleted_per_second"]
        if jobs and not pace:
            waiting = "1 job waits" if jobs == 1 else f"{jobs} jobs wait"
            raise FormulaError(f"{waiting} and no job was deleted lately, so nobody knows how long it will take")
        return jobs / pace if jobs else jobs

    def shown(self, fields: Mapping[str, Fraction]) -> str:
        """With numbers in their places."""
        ready, reserved, pace = (show_number(fields[name]) for name in ("ready", "reserved", "deleted_per_second"))
        return f"({ready} + {reserved}) / {pace}"


JOBS_TO_DO = Sum.of("ready", "reserved")
DRAIN = Rule("beanstalkd_tube_drain_seconds", ALL_TUBES, DrainTime(), per=frozenset({Label.TUBE}))
RULES: Mapping[str, Rule] = {DRAIN.name: DRAIN}
"""Built-in metrics that are computed as rules are."""

MEANINGS: Mapping[str, str] = {
    **{signal.name: signal.meaning for signal in _SIGNALS},
    DRAIN.name: "Seconds until a tube is empty at the present pace of deletions, over all servers.",
}
"""Of the metrics that have one name: a sentence each."""
NAMES = (TUBE_JOBS, *sorted(MEANINGS.keys() - {TUBE_JOBS}))


def rule_of_tube(metric: str, tube: str) -> Rule:
    """`tube-…` as a rule."""
    return Rule(metric, Glob((tube,)), JOBS_TO_DO, per=frozenset({Label.TUBE}))
