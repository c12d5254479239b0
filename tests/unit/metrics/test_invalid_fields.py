"""An invalid field of a tube is an error of what needs this field of this tube, and of nothing else."""

from fractions import Fraction
from typing import Any

import pytest

from app.beanstalkd.protocol import InvalidField, PartialTubeStats
from app.beanstalkd.reading import ServerState
from app.metrics.query import InvalidReadingError
from app.metrics.rules import Substitute
from tests.unit.metrics.given import (
    ago,
    asked,
    counts,
    explained,
    known,
    next_job,
    quantities,
    rule,
    server,
    tube,
)

PREFIX = "beanstalkd_tube_"


def reading(**invalid: str) -> ServerState:
    """Tube `a` with fields that are invalid, by the problem of each, and a tube `b` without."""
    wrong = {field: InvalidField(field.replace("_", "-"), problem) for field, problem in invalid.items()}
    more: Any = {"current_waiting": 4, "total_jobs": 50, "cmd_delete": 40}
    return server(
        "eu",
        PartialTubeStats._make(tube("a", ready=3, reserved=2, **(more | wrong))),
        tube("b", ready=3, reserved=2, **more),
        earlier=dict.fromkeys("ab", counts(31, 20, 10)),
        listed_earlier_at=ago(31),
        next_jobs=dict.fromkeys("ab", next_job(7)),
    )


METRICS = {
    "tube-a": ("current_jobs_ready", "current_jobs_reserved"),
    f"{PREFIX}jobs?tube=a": ("current_jobs_ready", "current_jobs_reserved", "current_jobs_delayed"),
    f"{PREFIX}jobs?tube=a,state=ready": ("current_jobs_ready",),
    f"{PREFIX}urgent_jobs?tube=a": ("current_jobs_urgent",),
    f"{PREFIX}workers_waiting?tube=a": ("current_waiting",),
    f"{PREFIX}workers_waiting?": ("current_waiting",),
    f"{PREFIX}workers_watching?tube=a": ("current_watching",),
    f"{PREFIX}producers_using?tube=a": ("current_using",),
    f"{PREFIX}jobs_put_per_second?tube=a": ("total_jobs",),
    f"{PREFIX}jobs_deleted_per_second?tube=a": ("cmd_delete",),
    f"{PREFIX}drain_seconds?tube=a": ("current_jobs_ready", "current_jobs_reserved", "cmd_delete", "pause"),
    f"{PREFIX}next_job_age_seconds?tube=a": ("current_jobs_ready", "pause", "cmd_pause_tube"),
    "rule-waiting": ("current_waiting",),
    "rule-pause": ("pause_time_left",),
    "rule-rate": ("total_jobs",),
}
"""Metrics, each with the fields that it needs."""
FIELDS = sorted({field for fields in METRICS.values() for field in fields})
RULES = [
    rule("rule-waiting", "*", "waiting"),
    rule("rule-pause", "*", "pause_left"),
    rule("rule-rate", "*", "put_per_second"),
]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_metric_fails_if_a_field_that_it_needs_is_invalid_and_only_then(metric: str, field: str) -> None:
    name, _, selector = metric.partition("?")
    valid = asked(name, selector, known(reading(), rules=RULES))
    given = known(reading(**{field: "counter below zero (-1)"}), rules=RULES)
    if field not in METRICS[metric]:
        assert asked(name, selector, given) == valid
        return
    key = field.replace("_", "-")
    with pytest.raises(
        InvalidReadingError,
        match=rf"^beanstalkd 'eu' \(.*\) has no valid {key} for tube 'a': counter below zero \(-1\)",
    ):
        asked(name, selector, given)
    others = selector.replace("tube=a", "tube=b") or "tube=b"
    if not name.startswith("rule"):
        assert quantities(asked(name.replace("-a", "-b"), others, given)) == [
            value.quantity for value in valid if value.labels.get("tube") != "b"
        ]


def test_a_rule_may_name_a_value_instead() -> None:
    given = known(
        reading(current_waiting="counter below zero (-1)"),
        rules=[rule("waiting", "*", "waiting", on_failure=Substitute(Fraction(5)))],
    )
    assert quantities(asked("waiting", "", given)) == ["5"]


def test_an_explanation_shows_an_invalid_field_as_unknown_with_the_reason() -> None:
    given = known(reading(cmd_delete="sent no such field"))
    data = explained(f"{PREFIX}jobs", "tube=a", given)
    (told,) = data["tubes"]
    assert data["error"] is None
    assert told["fields"]["deleted"] is None
    assert "deleted_per_second" not in told["fields"]
    assert told["fields"]["ready"] == 3
    assert told["invalid"] == {"deleted": "cmd-delete: sent no such field"}
