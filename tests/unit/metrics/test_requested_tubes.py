"""What a question names is read every second from then on: so it must be known which tubes those are."""

import pytest

from app.metrics.query import MetricQuery
from app.metrics.resolve import resolve, wanted_by_rules
from app.metrics.rules import Rules
from app.metrics.selector import parse_selector
from tests.unit.metrics.given import SERVER, TUBE, glob, known, rule, server, tube, unread

AGE = "next_job_age_seconds"
RULES = [
    rule("exact", "a b"),
    rule("glob", "a t-*"),
    rule("by-tube", "a t-*", per=TUBE),
    rule("ages", "a t-*", value=AGE),
    rule("ages-by-tube", "a t-*", value=AGE, per=TUBE | SERVER),
    rule("ages-of-all", "*", value=AGE),
    rule("theirs", "a", namespaces=glob("mail")),
]
GIVEN = known(server("eu", tube("t-1"), tube("Upper"), *[tube(f"x{n}") for n in range(100)]), rules=RULES)


@pytest.mark.parametrize(
    ("metric", "selector", "tubes", "ages"),
    [
        ("tube-a", "", "a", ""),
        ("TUBE-a", "", "a", ""),
        ("tube-upper", "", "Upper", ""),
        ("beanstalkd_tube_jobs", "tube in (a,b),state=ready", "a b", ""),
        ("beanstalkd_tube_jobs", "state=ready", "", ""),
        ("beanstalkd_tube_drain_seconds", "tube=a", "a", ""),
        ("beanstalkd_tube_next_job_age_seconds", "tube=a", "a", "a"),
        ("exact", "", "a b", ""),
        ("EXACT", "", "a b", ""),
        ("glob", "", "a", ""),
        ("by-tube", "", "a", ""),
        ("by-tube", "tube in (t-1,t-2,zzz)", "t-1 t-2", ""),
        ("ages", "", "a", "a t-1"),
        ("ages-by-tube", "tube=t-1", "t-1", "t-1"),
        ("ages-of-all", "", "", ""),
        ("theirs", "", "", ""),
        ("nope", "", "", ""),
        ("tube-", "", "", ""),
        ("exact", "tube=a", "", ""),
    ],
)
def test_a_query_names_tubes(metric: str, selector: str, tubes: str, ages: str) -> None:
    wanted = resolve(MetricQuery(metric, "shop", parse_selector(selector)), GIVEN).wanted()
    assert (" ".join(wanted.tubes), " ".join(wanted.ages)) == (tubes, ages)


def test_tubes_are_requested_before_anything_was_read() -> None:
    given = known(unread("eu"), rules=[rule("ages", "a", value=AGE)])
    for metric in ("tube-a", "ages"):
        assert tuple(resolve(MetricQuery(metric, "shop"), given).wanted().tubes) == ("a",)
    assert tuple(resolve(MetricQuery("ages", "shop"), given).wanted().ages) == ("a",)


def test_tubes_of_rules_are_requested_for_any_namespace() -> None:
    wanted = wanted_by_rules(Rules({each.name: each for each in RULES}))
    assert (wanted.tubes, wanted.ages) == (("a", "b"), ("a",))
