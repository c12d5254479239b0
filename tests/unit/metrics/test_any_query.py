"""What holds of every question: its explanation is the answer's own, and what is hidden makes no difference to it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.reading import Reading, ServerState, Snapshot
from app.metrics.built_in import NAMES
from app.metrics.query import EvaluationContext, MetricError, MetricQuery, MetricValue
from app.metrics.resolve import metric_names, resolve
from app.metrics.rules import Glob, Hold, Label, Rule
from app.metrics.selector import parse_selector
from tests.unit.metrics.given import ago, counts, explained, glob, known, next_job, rule, server, tube

TUBES = ["a", "A", "b", "shop-1", "Shop-1", "x/y", "default", "secret"]
PATTERNS = ["a", "A", "shop-*", "*", "[!a]*", "[!A-Z]*", "gone-*", "secret", "secret shop-1"]
AGES = st.sampled_from([0.5, 5, 14, 20, 60])
SELECTORS = [
    "",
    "tube=a",
    "tube=A",
    "tube in (a,b,nope)",
    "tube!=a",
    "tube notin (a,b,default)",
    "!tube",
    "tube",
    "tube=",
    "tube=secret",
    "tube>5",
    "tube=a,tube=b",
    "server=s0",
    "server!=s0",
    "server notin (s0,s1)",
    "server in (s0,mars)",
    "state=ready",
    "state notin (ready)",
    "state in (ready,x)",
    "paused=false",
    "paused=true",
    "paused",
    "!paused",
    "foo=bar",
    "foo!=bar",
]
FAILURES: list[dict[str, Any]] = [
    {},
    {"failure": "connection refused"},
    {"failure": "asked for tube 'secret' but the answer names 'x'", "names_tube": True},
]
BUILT_IN = [*NAMES, "tube-a", "tube-A", "tube-shop-1", "tube-secret", "tube-x/y", "tube-", "tubes-secret", "secret"]


@st.composite
def servers(draw: st.DrawFn, name: str) -> ServerState:
    age_s = draw(AGES)
    there = draw(st.dictionaries(st.sampled_from(TUBES), st.tuples(st.integers(0, 3), AGES), max_size=6))
    tubes = [
        tube(each, ready=ready, cmd_delete=ready, pause=ready // 2, age_s=min(age, age_s))
        for each, (ready, age) in there.items()
    ]
    return server(
        name,
        *tubes,
        age_s=age_s,
        **draw(st.sampled_from(FAILURES)),
        earlier={each: counts(90, 0, 0) for each in there},
        listed_earlier_at=draw(st.sampled_from([None, ago(90)])),
        next_jobs={each: next_job(5, asked_s=min(age, age_s)) for each, (_, age) in there.items()},
        missed={each: ago(0.2) for each in draw(st.sets(st.sampled_from(TUBES))) if each not in there},
    )


SNAPSHOTS = st.tuples(servers("s0"), servers("s1"))
RULES = st.builds(
    rule,
    tubes=st.sampled_from(PATTERNS),
    value=st.sampled_from(["ready + reserved", "ready / deleted_per_second", "put_per_second", "next_job_age_seconds"]),
    per=st.frozensets(st.sampled_from(Label)),
    on_failure=st.sampled_from([Hold(10), rule().on_failure]),
    max_age_s=st.sampled_from([None, 2.0, 60.0]),
)
GRANTS = st.one_of(
    st.none(), st.dictionaries(st.sampled_from(["shop", "*", "x"]), st.sampled_from(PATTERNS), min_size=1)
)


@given(SNAPSHOTS, RULES, GRANTS, st.sampled_from(["backlog", *BUILT_IN]), st.sampled_from(SELECTORS))
def test_an_explanation_has_the_items_or_error_of_the_response(
    states: tuple[ServerState, ...], of_ours: Rule, tenancy: dict[str, str] | None, metric: str, selector: str
) -> None:
    of = known(*states, rules=[replace(of_ours, namespaces=glob("*"))], tenancy=tenancy)
    data = explained(metric, selector, of)
    values, error = _answered(MetricQuery(metric, "shop", parse_selector(selector)), of)
    assert [(item["labels"], item["value"]) for item in data["items"]] == [
        (each.labels, each.quantity) for each in values
    ]
    if error or values:
        assert (data["error"] and data["error"]["message"]) == error


@given(SNAPSHOTS, GRANTS.filter(bool), st.sampled_from(BUILT_IN), st.sampled_from(SELECTORS))
def test_no_result_depends_on_hidden_tubes(
    states: tuple[ServerState, ...], tenancy: dict[str, str], metric: str, selector: str
) -> None:
    of = known(*states, tenancy=tenancy)
    seen = of.rules.visible_tubes_of("shop")
    assert seen is not None
    question = MetricQuery(metric, "shop", parse_selector(selector))
    without = of._replace(snapshot=Snapshot(tuple(_only(seen, state) for state in states)))
    assert _all_that_is_said(question, selector, of) == _all_that_is_said(question, selector, without)


def _only(seen: Glob, state: ServerState) -> ServerState:
    before = state.reading
    assert before is not None
    tubes = [before.tubes[name] for name in seen.of(before.tubes)]
    reading = replace(
        Reading.of(before.server_id, before.listed_at, tubes),
        earlier={name: before.earlier[name] for name in seen.of(before.earlier)},
        listed_earlier_at=before.listed_earlier_at,
        next_jobs={name: before.next_jobs[name] for name in seen.of(before.next_jobs)},
        missed={name: before.missed[name] for name in seen.of(before.missed)},
    )
    return replace(state, reading=reading)


def _answered(question: MetricQuery, of: EvaluationContext) -> tuple[Sequence[MetricValue], str | None]:
    try:
        return resolve(question, of).values(), None
    except MetricError as error:
        return (), str(error)


def _all_that_is_said(question: MetricQuery, selector: str, of: EvaluationContext) -> Sequence[object]:
    names = metric_names(of.snapshot, of.rules)
    return _answered(question, of), resolve(question, of).explain(selector), names, resolve(question, of).wanted()
